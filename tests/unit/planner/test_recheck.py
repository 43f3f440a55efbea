"""What is left of a plan when the cluster has gone on meanwhile."""

from dataclasses import replace

import pytest

from scheduler.cluster.model import HostState, Snapshot
from scheduler.cluster.rules import Pin, Rules
from scheduler.planner.balance import plan
from scheduler.planner.plan import Plan
from scheduler.planner.recheck import recheck
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import cluster, host, vm

SETTINGS = PlannerSettings()
HOT = cluster(
    [host("a", cpus=4), host("b")], [vm(f"vm{n}", "a", cpu_demand_cores=1.5, cpu_wait_ratio=0.2) for n in range(4)]
)


def planned(snapshot: Snapshot = HOT) -> Plan:
    return plan(snapshot, SETTINGS, clock=lambda: 0.0)


def changed(name: str, **facts: object) -> Snapshot:
    vms = (replace(one, **facts) if one.name == name else one for one in HOT.vms)  # type: ignore[arg-type]
    return replace(HOT, vms=tuple(vms))


def test_nothing_changed_and_nothing_is_left_out() -> None:
    assert recheck(planned(), HOT, SETTINGS).steps == planned().steps


@pytest.mark.parametrize(
    "facts",
    [{"host": "b"}, {"destination": "b"}, {"quarantine": "runs twice"}, {"memory_mib": 999_999}, {"uuid": "another"}],
)
def test_a_step_that_is_not_possible_any_more_is_left_out_and_told(facts: dict[str, object]) -> None:
    made = planned()
    first = made.steps[0].vm
    left = recheck(made, changed(first, **facts), SETTINGS)
    assert first not in {step.vm for step in left.steps}
    assert {one.vm: one.reasons[0].code for one in left.unmoved}[first] == "outdated"


def test_nothing_is_moved_when_nobody_waits_any_more() -> None:
    calm = replace(HOT, vms=tuple(replace(one, cpu_demand_cores=0.2, cpu_wait_ratio=0.0) for one in HOT.vms))
    left = recheck(planned(), calm, SETTINGS)
    assert left.steps == ()
    assert "gain nothing" in left.unmoved[0].reasons[0].text


def test_a_repair_needs_no_gain() -> None:
    broken = cluster([host("a"), host("b")], [vm("db", "a")], Rules(pins=(Pin("db", ("b",)),)))
    assert len(recheck(planned(broken), broken, SETTINGS).steps) == 1
    down = replace(broken, hosts=(broken.hosts[0], host("b", state=HostState.MAINTENANCE)))
    assert recheck(planned(broken), down, SETTINGS).steps == ()
