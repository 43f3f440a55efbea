"""The cluster as decisions see it: what was last seen, laid over with what is under way and what people said."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from ..cluster.hold import ContentionClock
from ..cluster.model import Host, HostState, Snapshot
from ..cluster.observation import DomainFacts
from ..filters.view import BoolArray
from ..filters.view import View as Arrays
from ..operations.clock import Clock
from ..operations.experience import Experience
from ..operations.gate import Gate
from ..operations.settings import MigrationSettings
from ..operations.worker import Worker
from ..planner.load import Load
from ..planner.settings import PlannerSettings
from .observer import Observer


class View:
    """Makes the snapshots that everything is decided on.

    `cordoned` tells which hosts people took out of service, `migration` how VMs are migrated.
    """

    def __init__(
        self,
        observer: Observer,
        gate: Gate,
        experience: Experience,
        cordoned: Callable[[], Collection[str]],
        clock: Clock,
        worker: Worker,
        migration: Callable[[], MigrationSettings],
    ) -> None:
        self._observer = observer
        self._gate = gate
        self._experience = experience
        self._cordoned = cordoned
        self._clock = clock
        self._worker = worker
        self._migration = migration
        self._contention = ContentionClock()
        self._expected = ContentionClock()

    def snapshot(self) -> Snapshot:
        """The cluster now."""
        return self._laid_over(self._observer.snapshot())

    async def refresh(self, *hosts: str) -> Snapshot:
        """The cluster with a fresh look at these hosts."""
        await self._observer.look(*hosts)
        return self.snapshot()

    async def inspect(self, host: str) -> Snapshot:
        """That host alone, after a fresh look at it."""
        await self._observer.look(host)
        return self._laid_over(self._observer.snapshot_of(host))

    def up(self) -> list[str]:
        """The hosts that answer and are in service."""
        cordoned = self._cordoned()
        return [name for name in self._observer.reachable if name not in cordoned]

    def cpu_answers(self, facts: DomainFacts) -> Mapping[str, frozenset[str] | None]:
        """See `ClusterView`."""
        return self._observer.compatibility.answers(facts)

    async def ask_cpu(self, host: str, facts: DomainFacts) -> frozenset[str] | None:
        """See `ClusterView`."""
        return await self._observer.compatibility.answer(host, facts)

    async def judge_contention(self, settings: PlannerSettings) -> bool:
        """Count on for hosts that are contended by their last two looks; whether one has been for long enough.

        A mean over a longer time would still show a spike when it is over, and so outlast the hold. Contention that is
        only expected counts apart, and is left to the sweep: nobody waits for it yet.
        """
        now_s = self._clock.monotonic()
        latest = self._laid_over(await self._observer.latest())
        judged = {host.name for host in latest.hosts if host.state is not HostState.UNREACHABLE and not host.stale}
        contended, expected = await self._worker.run(lambda _: _short(latest, settings))
        moving = {name for name in judged if any(self._gate.slots(name))}
        self._contention.update(now_s, contended, judged)
        # A peak while it lasts, and what a migration uses, say nothing of whether peaks come again.
        self._expected.update(now_s, expected, judged - contended - moving)
        for host in latest.hosts:
            # Of a host that is not seen there is no evidence; what moves to or from one changes its load. What is
            # expected stays evidence then: it is made of what each VM did, wherever it was.
            if host.name not in judged or host.name in moving:
                self._contention.restart(host.name, now_s)
            if host.name not in judged:
                self._expected.restart(host.name, now_s)
        return any(self._contention.seconds(host, now_s) >= settings.hold_seconds for host in judged)

    def restart_contention(self, *hosts: str) -> None:
        """What runs on these hosts has changed: contention must show anew before it is acted on again."""
        for host in hosts:
            self._contention.restart(host, self._clock.monotonic())

    def _laid_over(self, seen: Snapshot) -> Snapshot:
        now_s, cordoned = self._clock.monotonic(), self._cordoned()

        def host(seen: Host) -> Host:
            contended_s, expected_s = (clock.seconds(seen.name, now_s) for clock in (self._contention, self._expected))
            if not contended_s and not expected_s and seen.name not in cordoned:
                return seen  # as most are: copying a thousand for nothing takes long
            maintained = seen.name in cordoned and seen.state is HostState.UP
            state = HostState.MAINTENANCE if maintained else seen.state
            return replace(seen, state=state, contended_seconds=contended_s, expected_contended_seconds=expected_s)

        known = self._experience.on(replace(seen, hosts=tuple(map(host, seen.hosts))))
        return self._gate.overlay(self._migration().copying(known))


def _short(latest: Snapshot, settings: PlannerSettings) -> tuple[set[str], set[str]]:
    """The hosts that are short of CPU or memory, and those that are expected to be."""
    load = Load(Arrays(latest), settings)
    return _named(load, load.contended), _named(load, load.expected)


def _named(load: Load, hosts: BoolArray) -> set[str]:
    """The names of those hosts."""
    return {host.name for host, one in zip(load.view.hosts, hosts, strict=True) if one}
