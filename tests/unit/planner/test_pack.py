"""`pack` empties hosts, wholly or not at all, and keeps every loss survivable."""

from scheduler.cluster.model import Snapshot
from scheduler.planner.balance import plan
from scheduler.planner.plan import Plan
from scheduler.planner.settings import Objective, PlannerSettings
from tests.unit.clusters import cluster, host, vm


def packed(snapshot: Snapshot, max_moves: int | None = None) -> Plan:
    return plan(snapshot, PlannerSettings(objective=Objective.PACK, max_moves=max_moves), clock=lambda: 0.0)


def test_the_least_filled_host_is_emptied_into_the_fullest() -> None:
    hosts = [host("a"), host("b"), host("c", memory_mib=24576)]
    vms = [vm("one", "a"), *(vm(f"two{n}", "b") for n in range(2)), *(vm(f"many{n}", "c") for n in range(4))]
    made = packed(cluster(hosts, vms), max_moves=1)
    assert made.score_before == 3
    assert made.score_after == 2
    assert [(step.source, step.destination) for step in made.steps] == [("a", "c")]


def test_a_loss_that_was_survivable_stays_so() -> None:
    """Were b emptied into c, then x would have nowhere to go when a is lost."""
    new = frozenset({"avx2"})
    hosts = [
        host("a", cpu_features=new),
        host("b", cpu_features=frozenset()),
        host("c", cpu_features=new, memory_mib=8192),
    ]
    vms = [vm("x", "a", required_cpu_features=new, hold="cooldown"), vm("y", "b"), vm("z", "c", hold="cooldown")]
    assert packed(cluster(hosts, vms)).steps == ()


def test_a_host_is_emptied_wholly_or_not_at_all() -> None:
    vms = [vm("free", "a"), vm("gpu", "a", movable=False), *(vm(f"many{n}", "b") for n in range(4)), vm("c", "c")]
    made = packed(cluster([host(name) for name in "abc"], vms))
    assert {step.source for step in made.steps} == {"b", "c"}
    assert packed(cluster([host(name) for name in "bd"], vms[2:6]), max_moves=3).steps == ()


def test_no_host_is_filled_above_the_cpu_limit() -> None:
    vms = [vm(name, name, cpu_demand_cores=10.0) for name in "ab"]
    assert packed(cluster([host("a"), host("b")], vms)).steps == ()


def test_the_hosts_that_can_be_switched_off_are_named() -> None:
    hosts = [host(name) for name in "abcd"]
    made = packed(cluster(hosts, [vm("one", "a"), vm("two", "b"), vm("three", "b")]))
    assert made.summary.endswith("a, c, d can be switched off")


def test_a_host_whose_whole_memory_is_reserved_is_no_place_for_any() -> None:
    hosts = [host("a", reserved_memory_mib=65536), host("b"), host("c")]
    made = packed(cluster(hosts, [vm("kept", "a", movable=False), vm("one", "b"), vm("two", "c")]))
    assert {step.destination for step in made.steps} <= {"b", "c"}
    assert len(made.steps) == 1
