from scheduler.cluster.model import VmState
from scheduler.cluster.rules import AntiAffinity, Rules, Strength
from tests.unit.clusters import cluster, host, verdict, vm

HOSTS = [host("a"), host("b")]
APART = Rules(anti_affinity=(AntiAffinity(("web*",)),))


def test_two_of_a_group_do_not_share_a_host() -> None:
    snapshot = cluster(HOSTS, [vm("web1", "a"), vm("web2", "b")], APART)
    assert verdict(snapshot, "web1", "b") == {"anti_affinity": "runs 1 of web*, at most 1 may share a host"}
    assert verdict(snapshot, "web1", "a") == {}


def test_one_on_its_way_counts_and_one_that_is_stopped_does_not() -> None:
    vms = [vm("web1", "a"), vm("web2", "a", state=VmState.STOPPED), vm("web3", "c", destination="b")]
    snapshot = cluster([*HOSTS, host("c")], vms, APART)
    assert "anti_affinity" in verdict(snapshot, "web1", "b")
    assert verdict(snapshot, "web1", "a") == {}


def test_as_many_as_allowed_may_share() -> None:
    rules = Rules(anti_affinity=(AntiAffinity(("web*",), max_per_host=2),))
    vms = [vm("web1", "a"), vm("web2", "b"), vm("web3", "b"), vm("web4", "a")]
    snapshot = cluster([*HOSTS, host("c")], vms, rules)
    assert "anti_affinity" in verdict(snapshot, "web1", "b")
    assert verdict(snapshot, "web1", "c") == {}


def test_a_soft_rule_refuses_nothing() -> None:
    rules = Rules(anti_affinity=(AntiAffinity(("web*",), Strength.SHOULD),))
    assert verdict(cluster(HOSTS, [vm("web1", "a"), vm("web2", "b")], rules), "web1", "b") == {}


def test_a_group_spread_over_racks_counts_all_hosts_of_a_rack_as_one() -> None:
    racks = [host("a1", labels={"rack": "a"}), host("a2", labels={"rack": "a"}), host("b1", labels={"rack": "b"})]
    rules = Rules(anti_affinity=(AntiAffinity(("web*",), spread_over="rack"),))
    alone = host("c")
    snapshot = cluster([*racks, alone], [vm("web1", "a1"), vm("web2", "b1")], rules)
    refused = {"anti_affinity": "its rack a runs 1 of web*, at most 1 may share a rack"}
    assert verdict(snapshot, "web2", "a2") == refused
    assert verdict(snapshot, "web1", "a2") == {}
    assert verdict(snapshot, "web2", "c") == {}
