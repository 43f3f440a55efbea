"""The desk: the cluster's arrays kept at hand, so that choosing a host takes milliseconds however many there are.

Those of a small cluster are made anew for each choice. Those of a large one, which takes half a second, are made in a
worker thread, kept and renewed. In between they follow what the gate reserves and books; all else that has happened is
not in them, so a host that was chosen by kept arrays has to be looked at once more before anything starts there.
"""

import asyncio
from typing import Final

from ..cluster.model import Snapshot, Vm
from ..planner.placement import Placer
from ..planner.settings import PlannerSettings
from .clock import Clock
from .context import ClusterView
from .gate import Gate
from .worker import Worker

SHOWN_HOSTS: Final = 32
"""So many hosts, at most, are told of that can take a VM, and as many that cannot."""
RENEWED_AFTER_S: Final = 10.0
FORGOTTEN_AFTER_S: Final = 60.0
"""Arrays that old are not chosen by any more, only new ones."""


class Desk:
    """Arrays over the last snapshot. `kept_above` is the number of VMs from which on they are kept."""

    def __init__(self, view: ClusterView, gate: Gate, clock: Clock, worker: Worker, *, kept_above: int = 500) -> None:
        self._view = view
        self._gate = gate
        self._clock = clock
        self._worker = worker
        self._kept_above = kept_above
        self._kept: Placer | None = None
        self._made_at_s = 0.0
        self._times_forgotten = 0
        self._renewal: asyncio.Task[None] | None = None
        self._followed: set[tuple[str, str]] = set()
        """Starts that the kept arrays have."""
        self._latest: list[tuple[Vm, str]] = []
        """Starts that arrays which are being made may not have."""

    async def placer(self, settings: PlannerSettings) -> Placer:
        """The cluster as it is now or, when `kept`, as it was lately with what the gate has reserved since.

        What is chosen must be reserved before anything is awaited, so that two choices never take the same room.
        """
        while not self._usable(settings):
            snapshot = self._view.snapshot()
            if len(snapshot.vms) <= self._kept_above:
                self._kept = None
                return Placer(snapshot, settings)
            await asyncio.shield(self._begun_renewal(settings))
        if self._age_s() > RENEWED_AFTER_S:
            self._begun_renewal(settings)
        self.follow()
        assert self._kept is not None  # noqa: S101 - it is usable
        return self._kept

    async def apart(self, snapshot: Snapshot, settings: PlannerSettings) -> Placer:
        """Arrays over a snapshot of one's own, which nobody else uses."""
        if len(snapshot.vms) <= self._kept_above:
            return Placer(snapshot, settings)
        return await self._worker.run(lambda _: Placer(snapshot, settings))

    @property
    def kept(self) -> bool:
        """Whether the last choice was by arrays that may have missed something."""
        return self._kept is not None

    def follow(self) -> None:
        """Take the rooms of what was asked to start or to move since. What has ended keeps its room for a while.

        To be called with each reservation: it ends when the VM is seen, and the kept arrays do not see it.
        """
        if self._kept is None and self._renewal is None:
            return
        for vm, host in self._gate.reserved():
            if (vm.uuid, host) not in self._followed:
                self._followed.add((vm.uuid, host))
                self._latest.append((vm, host))
                if self._kept is not None:
                    self._kept.start(vm, host)
        if self._kept is not None:
            for uuid, destination in self._gate.booked():
                self._kept.expect(uuid, destination)

    def forget(self) -> None:
        """They were wrong: the next choice is by new ones."""
        self._kept = None
        self._times_forgotten += 1
        self._followed.clear()

    async def stop(self) -> None:
        """Renew nothing any more."""
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)

    def _usable(self, settings: PlannerSettings) -> bool:
        return self._kept is not None and self._kept.load.settings is settings and self._age_s() <= FORGOTTEN_AFTER_S

    def _age_s(self) -> float:
        return self._clock.monotonic() - self._made_at_s

    def _begun_renewal(self, settings: PlannerSettings) -> asyncio.Task[None]:
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew(settings), name="renew-desk")
        return self._renewal

    async def _renew(self, settings: PlannerSettings) -> None:
        before, began_s, snapshot = self._times_forgotten, self._clock.monotonic(), self._view.snapshot()
        self._latest.clear()
        try:
            made = await self._worker.run(lambda _: Placer(snapshot, settings))
        finally:
            self._renewal = None
        # What was found wrong meanwhile is wrong in these, too.
        if before == self._times_forgotten:
            self._kept, self._made_at_s = made, began_s
            for vm, host in self._latest:
                made.start(vm, host)
            self._followed = {(vm.uuid, host) for vm, host in self._latest}
