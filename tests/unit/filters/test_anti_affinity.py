from scheduler.cluster.model import VmState
from scheduler.cluster.rules import AntiAffinity, Rules, Strength
from scheduler.filters import anti_affinity
from scheduler.filters.view import View
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


TWO_GROUPS = Rules(anti_affinity=(AntiAffinity(("prod*",), against=("batch*",)),))


def test_two_groups_share_no_host_and_each_may_share_one_with_its_own() -> None:
    vms = [vm("prod1", "a"), vm("batch1", "b"), vm("batch2", "c"), vm("batch3", "b"), vm("other", "a")]
    snapshot = cluster([*HOSTS, host("c"), host("d")], vms, TWO_GROUPS)
    text = "runs batch1, batch3 of batch*, which share no host with prod*"
    assert verdict(snapshot, "prod1", "b") == {"anti_affinity": text}
    assert verdict(snapshot, "batch1", "a") == {"anti_affinity": "runs prod1 of prod*, which share no host with batch*"}
    assert verdict(snapshot, "batch2", "b") == verdict(snapshot, "prod1", "d") == verdict(snapshot, "other", "b") == {}


def test_one_on_its_way_keeps_the_other_group_from_both_of_its_hosts() -> None:
    vms = [vm("prod1", "c"), vm("batch1", "a", destination="b"), *(vm(f"batch{n}", "d") for n in range(2, 7))]
    snapshot = cluster([*HOSTS, host("c"), host("d")], vms, TWO_GROUPS)
    text = "runs batch1 of batch*, which share no host with prod*"
    assert verdict(snapshot, "prod1", "a") == verdict(snapshot, "prod1", "b") == {"anti_affinity": text}
    assert verdict(snapshot, "prod1", "d") == {
        "anti_affinity": "runs batch2, batch3, batch4 and 2 more of batch*, which share no host with prod*"
    }


def test_room_held_for_the_other_group_keeps_it_away_without_a_name() -> None:
    view = View(cluster([*HOSTS, host("c")], [vm("prod1", "a"), vm("batch1", "b")], TWO_GROUPS))
    view.hold(1, 2)
    need = view.need(0)
    assert anti_affinity.mask(view, need).tolist() == [True, False, False]
    assert anti_affinity.reason(view, need, 2).text == "runs 1 of batch*, which share no host with prod*"


def test_a_vm_that_both_groups_mean_is_of_the_first() -> None:
    rules = Rules(anti_affinity=(AntiAffinity(("prod*",), against=("*",)),))
    snapshot = cluster([*HOSTS, host("c")], [vm("prod1", "a"), vm("prod2", "b"), vm("web", "c")], rules)
    assert verdict(snapshot, "prod1", "b") == {}
    assert verdict(snapshot, "prod1", "c") == {"anti_affinity": "runs web of *, which share no host with prod*"}


def test_two_groups_over_racks_share_no_rack() -> None:
    racks = [host("a1", labels={"rack": "a"}), host("a2", labels={"rack": "a"}), host("b1", labels={"rack": "b"})]
    rules = Rules(anti_affinity=(AntiAffinity(("prod*",), spread_over="rack", against=("batch*",)),))
    snapshot = cluster(racks, [vm("prod1", "a1"), vm("batch1", "b1")], rules)
    refused = {"anti_affinity": "its rack a runs prod1 of prod*, which share no rack with batch*"}
    assert verdict(snapshot, "batch1", "a2") == refused
    assert verdict(snapshot, "prod1", "a2") == {}
