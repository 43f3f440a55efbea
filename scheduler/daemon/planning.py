"""Plans and judgements in a worker thread, so that the loop hears events; a plan overtaken by them is called off."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final, Protocol

from ..cluster.model import Snapshot
from ..operations.clock import Clock
from ..operations.worker import Worker
from ..planner.balance import plan
from ..planner.plan import Plan, Planned
from ..planner.recheck import recheck
from ..planner.settings import PlannerSettings
from ..planner.standing import Standing, standing

FRESH_S: Final = 5.0
"""A plan made on an older picture than this is held against the present one before it is used."""
MAX_RESTARTS: Final = 3
"""After so many plans called off in a row by events one is made to its end: events may never cease."""


class MakePlan(Protocol):
    """What plans; `scheduler.planner.balance.plan` is the real one. It runs in a thread of its own."""

    def __call__(
        self,
        snapshot: Snapshot,
        settings: PlannerSettings,
        *,
        clock: Callable[[], float],
        drain: Collection[str] = (),
        cancelled: Callable[[], bool],
    ) -> Plan:
        """The plan; PlanningCancelledError soon after `cancelled` is true."""


class Planning:
    """One plan at a time. `look` gives the picture of the cluster at the moment it is called."""

    def __init__(self, look: Callable[[], Snapshot], clock: Clock, make: MakePlan = plan) -> None:
        self._look = look
        self._clock = clock
        self._make = make
        self._worker = Worker("plan")

    @property
    def busy(self) -> bool:
        """Whether something is being worked out in the worker thread."""
        return self._worker.busy

    async def balance(self, settings: PlannerSettings, changed: asyncio.Event) -> tuple[Snapshot, Planned]:
        """A plan, and before it the picture that it holds for. It is begun anew when `changed` is set meanwhile.

        `changed` is then set again at the end: planning has looked anew, the others in the cycle have not.
        """
        restarts = 0
        while (found := await self._unless(changed, settings, called_off=restarts)) is None:
            restarts += 1
            changed.clear()
        if restarts:
            changed.set()
        return found

    async def of(self, snapshot: Snapshot, settings: PlannerSettings) -> Plan:
        """A plan for a picture of the caller's own."""
        return (await self._run(snapshot, settings)).plan

    async def drain(self, settings: PlannerSettings, hosts: Collection[str]) -> Planned:
        """A plan that empties `hosts`. Its steps are checked one by one before they run, so its age does not matter."""
        return await self._run(self._look(), settings, hosts)

    async def standing(self) -> Standing:
        """How the cluster stands now."""
        snapshot = self._look()
        return await self._worker.run(lambda _: standing(snapshot))

    def close(self) -> None:
        """No more plans; the caller has cancelled those that were asked for."""
        self._worker.close()

    async def _unless(
        self, changed: asyncio.Event, settings: PlannerSettings, *, called_off: int
    ) -> tuple[Snapshot, Planned] | None:
        if called_off == MAX_RESTARTS:
            return await self._checked(settings)
        making = asyncio.ensure_future(self._checked(settings))
        change = asyncio.ensure_future(changed.wait())
        try:
            await asyncio.wait({making, change}, return_when=asyncio.FIRST_COMPLETED)
            return making.result() if making.done() else None
        finally:
            change.cancel()
            making.cancel()
            await asyncio.gather(change, making, return_exceptions=True)

    async def _checked(self, settings: PlannerSettings) -> tuple[Snapshot, Planned]:
        """A plan on the picture of now, or, when that took long, what still holds of it on the newest picture."""
        began_s, snapshot = self._clock.monotonic(), self._look()
        found = await self._run(snapshot, settings)
        if self._clock.monotonic() - began_s <= FRESH_S:
            return snapshot, found
        snapshot = self._look()
        holds = await self._worker.run(lambda _: recheck(found.plan, snapshot, settings))
        return snapshot, replace(found, plan=holds)

    async def _run(self, snapshot: Snapshot, settings: PlannerSettings, drain: Collection[str] = ()) -> Planned:
        """Cancelling this calls the planning off, and the worker is free for the next a moment later."""
        clock = self._clock.monotonic
        plan = await self._worker.run(
            lambda cancelled: self._make(snapshot, settings, clock=clock, drain=drain, cancelled=cancelled)
        )
        return Planned(plan, replace(snapshot, settings=settings, drain=tuple(drain) or None))
