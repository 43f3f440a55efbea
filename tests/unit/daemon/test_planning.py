"""Plans are made beside the loop, called off when overtaken, and held against the present when they are old."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from scheduler.cluster.model import HostState, Snapshot
from scheduler.daemon.planning import MAX_RESTARTS, Planning
from scheduler.operations.clock import SystemClock
from scheduler.planner.balance import plan
from scheduler.planner.objective import PlanningCancelledError
from scheduler.planner.plan import Plan
from scheduler.planner.settings import Objective, PlannerSettings
from tests.unit.clusters import cluster, host, vm

SETTINGS = PlannerSettings()


def hot(**facts: Any) -> Snapshot:
    vms = [vm(f"vm{n}", "a", cpu_demand_cores=1.5, cpu_wait_ratio=0.2) for n in range(4)]
    return cluster([host("a", cpus=4), host("b", **facts)], vms)


class Leap(SystemClock):
    """Stands still but for what it is told to leap."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


class Endless:
    """Plans until it is called off, the first `times`; then at once."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.begun = threading.Semaphore(0)
        self.ended: list[str] = []

    def __call__(
        self, snapshot: Snapshot, settings: PlannerSettings, *, cancelled: Callable[[], bool], **rest: Any
    ) -> Plan:
        self.begun.release()
        if len(self.ended) < self.times:
            while not cancelled():
                threading.Event().wait(0.001)
            self.ended.append("called off")
            raise PlanningCancelledError
        self.ended.append("planned")
        return plan(snapshot, settings, cancelled=cancelled, **rest)


async def test_a_newer_event_calls_a_plan_off_and_the_next_is_made_on_what_is_then() -> None:
    endless, changed, looks = Endless(1), asyncio.Event(), [hot(), hot(state=HostState.MAINTENANCE)]
    planning = Planning(lambda: looks.pop(0) if len(looks) > 1 else looks[0], Leap(), endless)
    making = asyncio.create_task(planning.balance(SETTINGS, changed))
    assert await asyncio.to_thread(endless.begun.acquire, timeout=60)
    assert planning.busy
    changed.set()
    snapshot, made = await making
    assert made.basis == replace(snapshot, settings=SETTINGS)
    assert endless.ended == ["called off", "planned"]
    assert snapshot.host("b").state is HostState.MAINTENANCE
    assert made.plan.steps == ()
    assert changed.is_set(), "the cycle has not looked at what happened"
    assert not planning.busy
    planning.close()


async def test_events_that_never_cease_do_not_keep_it_from_planning() -> None:
    endless, changed = Endless(MAX_RESTARTS), asyncio.Event()
    planning = Planning(hot, Leap(), endless)
    making = asyncio.create_task(planning.balance(SETTINGS, changed))
    for _ in range(MAX_RESTARTS + 1):
        assert await asyncio.to_thread(endless.begun.acquire, timeout=60)
        changed.set()
    assert (await making)[1].plan.steps
    assert endless.ended == ["called off"] * MAX_RESTARTS + ["planned"]
    planning.close()


async def test_who_stops_waiting_calls_it_off() -> None:
    endless = Endless(1)
    planning = Planning(hot, Leap(), endless)
    making = asyncio.create_task(planning.drain(SETTINGS, ["a"]))
    assert await asyncio.to_thread(endless.begun.acquire, timeout=60)
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    made = await planning.drain(SETTINGS, ["a"])
    assert endless.ended == ["called off", "planned"]
    assert made.plan.summary.startswith("drain of a")
    assert made.basis.drain == ("a",)
    planning.close()


@pytest.mark.parametrize(("seconds", "steps_left"), [(4.9, True), (5.1, False)])
async def test_an_old_plan_is_held_against_the_present(seconds: float, *, steps_left: bool) -> None:
    clock, looks = Leap(), [hot()]

    def slow(snapshot: Snapshot, settings: PlannerSettings, **rest: Any) -> Plan:
        made = plan(snapshot, settings, **rest)
        looks[0] = hot(state=HostState.MAINTENANCE)
        clock.now_s += seconds
        return made

    planning = Planning(lambda: looks[0], clock, slow)
    snapshot, made = await planning.balance(SETTINGS, asyncio.Event())
    assert bool(made.plan.steps) == steps_left
    assert (snapshot is looks[0]) == (not steps_left)
    if not steps_left:
        assert {one.reasons[0].code for one in made.plan.unmoved} >= {"outdated"}
    planning.close()


@pytest.mark.parametrize("drain", [(), ("a",)])
@pytest.mark.parametrize("objective", list(Objective))
def test_planning_that_was_called_off_ends(objective: Objective, drain: tuple[str, ...]) -> None:
    asked = iter([False, False, True])
    with pytest.raises(PlanningCancelledError):
        plan(
            hot(),
            PlannerSettings(objective=objective),
            clock=lambda: 0.0,
            drain=drain,
            cancelled=lambda: next(asked, True),
        )
