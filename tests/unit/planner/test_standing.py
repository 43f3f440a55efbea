"""How a cluster stands: losses that it could not bear, and rules that are broken."""

from scheduler.cluster.model import HostState
from scheduler.cluster.rules import AntiAffinity, Pin, Rules
from scheduler.planner.standing import standing
from tests.unit.clusters import cluster, host, vm

GIB = 1024


def test_a_loss_that_the_others_can_bear_leaves_nobody_without_a_place() -> None:
    found = standing(cluster([host("a"), host("b"), host("c")], [vm("web1", "a"), vm("web2", "b")]))
    assert found.homeless == {"a": 0, "b": 0, "c": 0}
    assert found.misplaced == {"pinned": 0, "anti_affinity": 0, "affinity": 0}


def test_vms_that_no_other_host_has_room_for_are_counted_for_their_host() -> None:
    big = [vm(f"big{number}", "a", memory_mib=20 * GIB) for number in range(3)]
    found = standing(cluster([host("a"), host("b", memory_mib=48 * GIB)], [*big, vm("small", "b")]))
    assert found.homeless == {"a": 1, "b": 0}


def test_a_host_out_of_service_takes_nobody() -> None:
    hosts = [host("a"), host("b", state=HostState.MAINTENANCE)]
    assert standing(cluster(hosts, [vm("web1", "a")])).homeless == {"a": 1, "b": 0}


def test_rules_count_in_a_loss() -> None:
    rules = Rules(pins=(Pin("db", ("a",)),))
    assert standing(cluster([host("a"), host("b")], [vm("db", "a"), vm("web", "a")], rules)).homeless["a"] == 1


def test_running_vms_that_break_a_rule_are_counted_by_rule() -> None:
    rules = Rules(pins=(Pin("db", ("b",)),), anti_affinity=(AntiAffinity(("web*",)),))
    vms = [vm("db", "a"), vm("web1", "a"), vm("web2", "a"), vm("off", "a")]
    assert standing(cluster([host("a"), host("b")], vms, rules)).misplaced == {
        "pinned": 1,
        "anti_affinity": 2,
        "affinity": 0,
    }
