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


def test_long_migrations_run_together() -> None:
    vms = [vm(f"small{n}", "a", memory_mib=1024) for n in range(2)]
    made = drained(
        cluster(HOSTS, [vms[0], vm("large1", "a", memory_mib=16384), vms[1], vm("large2", "a", memory_mib=16384)]), "a"
    )
    assert [(step.vm, step.batch) for step in made.steps] == [
        ("large1", 1),
        ("large2", 1),
        ("small0", 2),
        ("small1", 2),
    ]
    assert made.summary.startswith("drain of a, 4 moves in 2 batches, takes about 2 min 58 s")
    assert made.as_dict()["total_seconds"] == round(sum({s.batch: s.predicted_seconds for s in made.steps}.values()), 1)


def test_who_has_a_choice_leaves_the_only_host_to_who_has_none() -> None:
    rules = Rules(pins=(Pin("bound", ("a", "b")),))
    emptier = [host("a"), host("b", memory_mib=131072), host("c")]
    made = drained(cluster(emptier, [vm("free", "a", memory_mib=8192), vm("bound", "a")], rules), "a")
    assert {step.vm: (step.destination, step.batch) for step in made.steps} == {"free": ("c", 1), "bound": ("b", 1)}


def test_no_host_is_made_contended_when_another_has_room() -> None:
    hosts = [host("a"), host("b", cpus=4), host("c", cpus=64)]
    made = drained(cluster(hosts, [vm(f"busy{n}", "a", cpu_demand_cores=3.8, vcpus=4) for n in range(3)]), "a")
    assert {step.destination for step in made.steps} == {"c"}


def test_no_host_is_driven_over_its_cpus() -> None:
    hosts = [host("a"), host("b", cpus=4)]
    made = drained(cluster(hosts, [vm("one", "a", cpu_demand_cores=3.0), vm("two", "a", cpu_demand_cores=3.0)]), "a")
    assert len(made.steps) == 1
    assert [reason.code for reason in made.unmoved[0].reasons] == ["cpu_short"]


def test_others_make_room_when_nothing_else_helps() -> None:
    hosts = [host("a"), host("b", memory_mib=16384), host("c", memory_mib=8192)]
    vms = [vm("large", "a", memory_mib=16384), vm("small", "b"), vm("c1", "c")]
    made = drained(cluster(hosts, vms), "a")
    assert [(step.vm, step.destination, step.reason.code) for step in made.steps] == [
        ("small", "c", "make_room"),
        ("large", "b", "drain"),
    ]
    assert made.unmoved == ()


def test_room_is_found_for_the_largest_when_memory_is_short() -> None:
    """The longest migration is not the largest VM here; leaving in that order would strand the largest."""
    hosts = [host("a"), host("b", memory_mib=16384), host("c", memory_mib=8192)]
    vms = [vm("large", "a", memory_mib=16384, memory_used_mib=512.0), *(vm(f"s{n}", "a") for n in range(2))]
    assert drained(cluster(hosts, vms), "a").unmoved == ()


def test_planning_stops_at_its_time_limit_with_what_it_has() -> None:
    ticks = iter(range(1000))
    vms = [vm(f"vm{n}", "a") for n in range(6)]
    settings = PlannerSettings(time_limit_seconds=3.0)
    made = plan(cluster(HOSTS, vms), settings, clock=lambda: float(next(ticks)), drain=["a"])
    assert 0 < len(made.steps) < 6
    assert len(made.steps) + len(made.unmoved) == 6
    assert {one.reasons[0].code for one in made.unmoved} == {"limit_reached"}
