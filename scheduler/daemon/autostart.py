"""Places VMs whose metadata asks for it, once in the life of a definition: it is no watchdog over guests."""

from ..operations.clock import Clock
from ..operations.journal import Journal
from ..operations.placement import Placements
from ..operations.records import PlacementOutcome, Trigger
from ..operations.settings import Mode
from .observer import Observer


class Autostart:
    """Remembers, in the journal, which definitions were placed already, so that a guest shut down stays so."""

    def __init__(self, observer: Observer, placements: Placements, journal: Journal, clock: Clock) -> None:
        self._observer = observer
        self._placements = placements
        self._journal = journal
        self._clock = clock

    async def place_new(self, cycle: str, mode: Mode) -> list[str]:
        """Place what is new and asks for it; a sentence for each VM that was placed or fits nowhere."""
        done = await self._journal.autostarted()
        asking = self._observer.asking_for_placement()
        # A host that cannot be heard may hold the definition; its VMs are not forgotten.
        gone = done - self._observer.defined_uuids() if self._observer.all_reachable else set()
        for uuid in gone:
            await self._journal.forget_autostarted(uuid)
        for uuid in (uuid for uuid, active in asking.items() if active and uuid not in done):
            await self._journal.mark_autostarted(uuid, self._clock.wall())
        if mode is Mode.OBSERVE:
            return []
        return [await self._place(uuid, cycle) for uuid, active in asking.items() if not active and uuid not in done]

    async def _place(self, uuid: str, cycle: str) -> str:
        # Tried dry first: a VM that fits nowhere is asked about at every cycle, and must not fill the journal.
        tried = await self._placements.start(uuid, dry_run=True, trigger=Trigger.AUTOSTART, cycle=cycle)
        if tried.outcome is PlacementOutcome.REFUSED:
            return f"{tried.vm} asks to be placed: {tried.reason}"
        record = await self._placements.start(uuid, trigger=Trigger.AUTOSTART, cycle=cycle)
        # Marked also when no host could start it: a person has to look, trying for ever helps nobody.
        await self._journal.mark_autostarted(uuid, self._clock.wall())
        return f"{record.vm}: {record.reason}"
