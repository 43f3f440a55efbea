"""The desk: the cluster's arrays kept at hand, so that choosing a host takes milliseconds however many there are.

Those of a small cluster are made anew for each choice. Those of a large one, which takes a second or more, are kept
and renewed in a worker thread. In between they follow what the gate reserves and books; all else that has happened is
not in them, so a host that was chosen by kept arrays has to be looked at once more before anything starts there.
"""

import asyncio
from typing import Final

from ..cluster.model import Vm
from ..planner.placement import Placer
from ..planner.settings import PlannerSettings
from .clock import Clock
from .context import ClusterView
from .gate import Gate

SHOWN_HOSTS: Final = 32
"""So many hosts, at most, are told of that can take a VM, and as many that cannot."""
RENEWED_AFTER_S: Final = 10.0
FORGOTTEN_AFTER_S: Final = 60.0
"""Arrays that old are not chosen by any more, only new ones."""


class Desk:
    """Arrays over the last snapshot. `kept_above` is the number of VMs from which on they are kept."""

    def __init__(self, view: ClusterView, gate: Gate, clock: Clock, *, kept_above: int = 500) -> None:
        self._view = view
        self._gate = gate
        self._clock = clock
        self._kept_above = kept_above
        self._kept: Placer | None = None
        self._made_at_s = 0.0
        self._followed: set[tuple[str, str]] = set()
        """Starts that the kept arrays have."""
        self._latest: list[tuple[Vm, str]] = []
        """Those that arrays which are being made may not have."""
        self._renewal: asyncio.Task[None] | None = None

    def placer(self, settings: PlannerSettings) -> Placer:
        """The cluster as it is now or, when `kept`, as it was lately with what the gate has reserved since."""
        age_s = self._clock.monotonic() - self._made_at_s
        if self._kept is None or self._kept.load.settings is not settings or age_s > FORGOTTEN_AFTER_S:
            made = Placer(self._view.snapshot(), settings)
            self._keep(made)
            return made
        if age_s > RENEWED_AFTER_S and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.create_task(self._renew(settings), name="renew-desk")
        self.follow()
        return self._kept

    @property
    def kept(self) -> bool:
        """Whether the next choice is by arrays that may have missed something."""
        return self._kept is not None

    def follow(self) -> None:
        """Take the rooms of what was asked to start or to move since. What has ended keeps its room for a while.

        To be called with each reservation: it ends when the VM is seen, and the kept arrays do not see it.
        """
        if self._kept is None:
            return
        for vm, host in self._gate.reserved():
            if (vm.uuid, host) not in self._followed:
                self._kept.start(vm, host)
                self._followed.add((vm.uuid, host))
                self._latest.append((vm, host))
        for uuid, destination in self._gate.booked():
            self._kept.expect(uuid, destination)

    def forget(self) -> None:
        """They were wrong: the next choice is by new ones."""
        self._kept = None
        self._latest.clear()

    async def stop(self) -> None:
        """Renew nothing any more."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    async def _renew(self, settings: PlannerSettings) -> None:
        self._latest.clear()
        outdated, snapshot = self._kept, self._view.snapshot()
        made = await asyncio.to_thread(Placer, snapshot, settings)
        # Others that were made meanwhile are on a later snapshot, and have starts that `_latest` has lost.
        if self._kept is outdated is not None:
            self._keep(made)
            for vm, host in self._latest:
                made.start(vm, host)

    def _keep(self, made: Placer) -> None:
        self._kept = made if len(made.load.view.vms) > self._kept_above else None
        self._made_at_s = self._clock.monotonic()
        self._followed.clear()
