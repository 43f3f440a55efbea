"""Places VMs whose metadata asks for it, once in the life of a definition: it is no watchdog over guests."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from ..cluster.model import Snapshot, Vm
from ..operations.clock import Clock
from ..operations.journal import Journal, JournalError
from ..operations.placement import Placements
from ..operations.placement_account import Course, Order, account
from ..operations.records import PlacementOutcome, Trigger
from ..operations.rehearsal import Rehearsal
from ..operations.settings import Mode
from ..operations.worker import Worker
from ..planner.placement import place
from .observer import Observer
from .waiting import end

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one cycle found of VMs that ask to be placed."""

    starting: tuple[str, ...] = ()
    """Names of those that are being started."""
    refused: tuple[str, ...] = ()
    """For each that fits nowhere, a sentence."""


class Autostart:
    """Remembers, in the journal, which definitions were placed already, so that a guest shut down stays so."""

    def __init__(
        self, observer: Observer, placements: Placements, journal: Journal, clock: Clock, worker: Worker
    ) -> None:
        self._observer = observer
        self._placements = placements
        self._journal = journal
        self._clock = clock
        self._worker = worker
        self._starting: asyncio.Task[None] | None = None

    async def look(self, snapshot: Snapshot, cycle: str, mode_of: Callable[[Vm], Mode]) -> Asked:
        """Begin to place what is new and asks for it; starts take long, so nobody waits for them here.

        A VM whose mode is `observe` is left alone. JournalError when it cannot be known what was placed already.
        """
        done = await self._journal.autostarted()
        asking = self._observer.asking_for_placement()
        await self._bring_up_to_date(done, {uuid for uuid, active in asking.items() if active})
        if self._starting is not None and not self._starting.done():
            return Asked()
        wanted = [
            vm
            for vm in snapshot.vms
            if not vm.active and asking.get(vm.uuid) is False and vm.uuid not in done
            if mode_of(vm) is not Mode.OBSERVE
        ]
        if not wanted:
            return Asked()
        # A VM that fits nowhere is asked about at every cycle, and must not fill the journal.
        wanted.sort(key=snapshot.priority, reverse=True)
        settings = self._placements.settings
        choices = await self._worker.run(lambda _: place(snapshot, wanted, settings))
        fitting = [choice for choice in choices if choice.host is not None]
        if fitting:
            work = self._start([choice.uuid for choice in fitting], cycle)
            self._starting = asyncio.create_task(work, name="autostart")
        order = Order(host=None, rehearsal=Rehearsal(), trigger=Trigger.AUTOSTART, requested_by="", cycle=cycle)
        return Asked(
            starting=tuple(choice.vm for choice in fitting),
            refused=tuple(
                f"{choice.vm} asks to be placed: {account(order, Course(placement=choice, host=None), 0.0).reason}"
                for choice in choices
                if choice.host is None
            ),
        )

    async def stop(self) -> None:
        """Start nothing more."""
        await end(self._starting)

    async def _bring_up_to_date(self, done: Collection[str], active: Collection[str]) -> None:
        # A host that cannot be heard may hold the definition; its VMs are not forgotten.
        gone = set(done) - self._observer.defined_uuids() if self._observer.all_reachable else set()
        for uuid in gone:
            await self._journal.forget_autostarted(uuid)
        for uuid in set(active) - set(done):
            await self._journal.mark_autostarted(uuid, self._clock.wall())

    async def _start(self, uuids: Sequence[str], cycle: str) -> None:
        for uuid in uuids:
            try:
                record = await self._placements.start(uuid, trigger=Trigger.AUTOSTART, cycle=cycle)
                # Marked also when no host could start it: a person has to look, trying for ever helps nobody.
                if record.outcome is not PlacementOutcome.REFUSED:
                    await self._journal.mark_autostarted(uuid, self._clock.wall())
            except KeyError:
                log.info("gone before it could be started", uuid=uuid)
            except JournalError as error:
                log.warning("a VM that asks for it was not started", uuid=uuid, error=str(error))
        self._observer.changed.set()
