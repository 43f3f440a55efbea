"""The form of a plan, and the snapshot it leads to."""

import pytest

from scheduler.cluster.reason import Reason
from scheduler.planner.balance import plan
from scheduler.planner.plan import Step, apply_plan
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import cluster, host, vm


def step(name: str, source: str, destination: str) -> Step:
    return Step(
        vm=name,
        uuid=f"uuid-{name}",
        source=source,
        destination=destination,
        batch=1,
        start_seconds=0.0,
        predicted_seconds=12.34,
        predicted_downtime_ms=120.4,
        predicted_transfer_mib=1034.4,
        memory_mib=4096,
        gain=0.5,
        reason=Reason("test", "because"),
    )


def test_the_form_for_tools() -> None:
    snapshot = cluster([host("a", cpus=2), host("b")], [vm("one", "a"), vm("two", "a")])
    shown = plan(snapshot, PlannerSettings(), clock=lambda: 0.0).as_dict()
    keys = ["objective", "score_before", "score_after", "terms", "planning_seconds", "total_seconds", "repairs"]
    assert list(shown) == [*keys, "steps", "unmoved", "summary"]
    assert step("one", "a", "b").as_dict() == {
        "vm": "one",
        "source": "a",
        "destination": "b",
        "batch": 1,
        "start_seconds": 0.0,
        "predicted_seconds": 12.3,
        "predicted_downtime_ms": 120,
        "predicted_transfer_mib": 1034,
        "memory_mib": 4096,
        "gain": 0.5,
        "reason": {"code": "test", "text": "because"},
    }


def test_a_moved_vm_takes_its_demand_along_and_gives_way_to_those_who_waited() -> None:
    vms = [vm("one", "a", cpu_demand_cores=2.0, cpu_wait_ratio=0.5), vm("two", "a", cpu_wait_ratio=0.25)]
    snapshot = cluster([host("a", cpu_used_cores=1.5), host("b", cpu_used_cores=0.5)], vms)
    after = apply_plan(snapshot, [step("one", "a", "b")])
    assert [each.host for each in after.vms] == ["b", "a"]
    # One used one core and waited for another; two waited for half a core and gets it.
    assert [each.cpu_wait_ratio for each in after.vms] == [0.0, 0.0]
    assert [each.cpu_used_cores for each in after.hosts] == [1.0, 2.5]


def test_only_what_is_freed_is_given_to_those_who_wait() -> None:
    vms = [vm("idle", "a", cpu_demand_cores=0.1), vm("two", "a", cpu_demand_cores=2.0, cpu_wait_ratio=0.2)]
    after = apply_plan(cluster([host("a"), host("b")], vms), [step("idle", "a", "b")])
    assert after.vms[1].cpu_wait_ratio == pytest.approx(0.2 * (1 - 0.1 / 0.4))
    assert after.hosts[0].cpu_used_cores is None


def test_the_definition_goes_along() -> None:
    snapshot = cluster([host("a"), host("b")], [vm("one", "a", defined_on=("a", "c"), destination="b")])
    (moved,) = apply_plan(snapshot, [step("one", "a", "b")]).vms
    assert moved.defined_on == ("b", "c")
    assert moved.destination is None


def test_an_unknown_vm_is_an_error() -> None:
    with pytest.raises(KeyError):
        apply_plan(cluster([host("a")], []), [step("ghost", "a", "a")])
