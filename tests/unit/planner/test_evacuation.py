"""A drained host loses all it can, whatever holds its VMs; what cannot leave is named with the reason."""

import pytest

from scheduler.cluster.model import Snapshot, VmState
from scheduler.cluster.rules import Affinity, Pin, Rules
from scheduler.planner.balance import plan
from scheduler.planner.plan import Plan
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import cluster, host, vm

HOSTS = [host("a"), host("b"), host("c")]


def drained(snapshot: Snapshot, *names: str, max_moves: int | None = None) -> Plan:
    return plan(snapshot, PlannerSettings(max_moves=max_moves), clock=lambda: 0.0, drain=names)


def test_everything_that_runs_leaves_also_what_is_held() -> None:
    vms = [vm("held", "a", hold="cooldown"), vm("paused", "a", state=VmState.PAUSED), vm("unknown", "a")]
    made = drained(cluster(HOSTS, [*vms, vm("off", "a", state=VmState.STOPPED)]), "a")
    assert {step.vm for step in made.steps} == {"held", "paused", "unknown"}
    assert made.unmoved == ()
    assert made.summary.startswith("drain of a, 3 moves")


def test_several_hosts_at_once_do_not_fill_one_another() -> None:
    made = drained(cluster(HOSTS, [vm("one", "a"), vm("two", "b")]), "a", "b")
    assert {step.destination for step in made.steps} == {"c"}


def test_what_cannot_leave_is_named() -> None:
    vms = [
        vm("gpu", "a", movable=False, blockers=("PCI device (hostdev)",)),
        vm("pinned", "a"),
        vm("busy", "a", dirty_mib_per_s=900.0),
        vm("leaving", "a", destination="b"),
    ]
    made = drained(cluster(HOSTS, vms, Rules(pins=(Pin("pinned", ("a",)),))), "a")
    assert {one.vm: one.reasons[0].code for one in made.unmoved} == {
        "gpu": "not_movable",
        "pinned": "pinned",
        "busy": "will_not_converge",
    }


def test_a_group_leaves_together_or_not_at_all() -> None:
    rules = Rules(affinity=(Affinity(("app*",)),))
    small = [host("a"), host("b", memory_mib=6144), host("c", memory_mib=8192)]
    made = drained(cluster(small, [vm("app1", "a"), vm("app2", "a")], rules), "a")
    assert {step.destination for step in made.steps} == {"c"}
    tight = drained(cluster(small[:2], [vm("app1", "a"), vm("app2", "a")], rules), "a")
    assert tight.steps == ()
    assert {one.vm for one in tight.unmoved} == {"app1", "app2"}
    tied = drained(cluster(small, [vm("app1", "a"), vm("app2", "a", movable=False)], rules), "a")
    assert {one.vm: one.reasons[0].code for one in tied.unmoved} == {"app1": "affinity", "app2": "not_movable"}


def test_a_partial_plan_says_what_comes_after_its_limit() -> None:
    made = drained(cluster(HOSTS, [vm("one", "a"), vm("two", "a")]), "a", max_moves=1)
    assert len(made.steps) == 1
    assert [one.reasons[0].code for one in made.unmoved] == ["limit_reached"]


def test_an_unknown_host_is_an_error() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        drained(cluster(HOSTS, []), "nowhere")


def test_the_most_important_vm_leaves_first_and_gets_the_room() -> None:
    vms = [vm("large", "a", memory_mib=8192), vm("gold", "a", memory_mib=4096, priority=1)]
    made = drained(cluster([host("a"), host("b", memory_mib=8192)], vms), "a")
    assert [step.vm for step in made.steps] == ["gold"]
    assert [one.vm for one in made.unmoved] == ["large"]
