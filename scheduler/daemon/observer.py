"""Keeps the picture of the cluster fresh: looks at every host in turn and when an event says that something happened.

Events are hints, looks are truth: an event only makes the next look come at once.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import structlog

from ..cluster.assemble import HostInput, Windows, assemble
from ..cluster.demand import DemandBook
from ..cluster.model import Snapshot, VmState
from ..cluster.observation import DomainFacts, DomainObservation, Event, EventKind, HostObservation
from ..cluster.ports import HypervisorCluster, HypervisorError
from ..cluster.rules import Rules
from .compatibility import CpuCompatibility

log = structlog.get_logger(__name__)

EVENT_COALESCE_S = 0.05
"""A burst of events (a migration sends a dozen) makes one look."""
FIRST_LOOK_PATIENCE_S = 8.0
"""A new host may take so long to connect before it counts as unreachable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedHost:
    """What the config says of one host."""

    name: str
    reserved_memory_mib: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserverSettings:
    """How often to look, and over what time demand is taken, in seconds."""

    sample_interval_s: float = 10.0
    recent_s: float = 60.0

    @property
    def stale_after_s(self) -> float:
        """Three looks missed, and a half for what a look may take."""
        return 3.5 * self.sample_interval_s


class Witness(Protocol):
    """Who is told what was seen. Called on the loop; must not block."""

    def on_event(self, event: Event) -> None:
        """The hypervisor told something."""

    def on_moved(self, uuid: str, name: str, source: str, destination: str) -> None:
        """A VM that ran on one host now runs on another."""

    def on_reachable(self, host: str, *, reachable: bool, detail: str) -> None:
        """A host was lost or came back."""


@dataclass(slots=True)
class _Watch:
    """One host's state here."""

    host: WatchedHost
    since_s: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    observation: HostObservation | None = None
    reachable: bool | None = None
    """None: not known yet."""
    detail: str = "never seen yet"


class Observer:
    """The latest look at every host, the demand windows, and the snapshot made of them."""

    def __init__(
        self,
        cluster: HypervisorCluster,
        witness: Witness,
        settings: ObserverSettings,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.rules = Rules()
        self.demand = DemandBook()
        self.changed = asyncio.Event()
        """Set when something happened that a cycle should look at."""
        self.heard = asyncio.Event()
        """Set once every host was seen, or found to be unreachable."""
        self._cluster = cluster
        self._witness = witness
        self._clock = clock
        self._watches: dict[str, _Watch] = {}
        self._whereabouts: dict[str, tuple[str, float]] = {}
        self._compatibility = CpuCompatibility(cluster, lambda: None)

    def watch(self, host: WatchedHost) -> None:
        """Begin to look at a host, or take over what the config now says of it."""
        if host.name in self._watches:
            self._watches[host.name].host = host
            return
        watch = self._watches[host.name] = _Watch(host, self._clock())
        watch.task = asyncio.create_task(self._keep_looking(watch), name=f"look-{host.name}")

    async def unwatch(self, name: str) -> None:
        """Stop looking at a host and forget it."""
        await _end(self._watches.pop(name).task)
        self._compatibility.forget(name)

    async def close(self) -> None:
        """Stop looking at all."""
        for watch in self._watches.values():
            await _end(watch.task)
        await self._compatibility.close()

    async def follow_events(self) -> None:
        """Take in what the hypervisors tell, until cancelled."""
        async for event in self._cluster.events():
            watch = self._watches.get(event.host)
            if watch is None:
                continue
            if event.kind is EventKind.CONNECTED:
                self._compatibility.forget(event.host)
            elif event.kind is EventKind.DISCONNECTED:
                self._lost(watch, event.detail or "connection lost")
            self._witness.on_event(event)
            watch.wake.set()
            if event.kind is not EventKind.MIGRATION_ITERATION:
                self.changed.set()

    @property
    def names(self) -> list[str]:
        """All hosts, in the config's order."""
        return list(self._watches)

    def detail(self, host: str) -> str:
        """Why a host is unreachable; empty when it is not."""
        watch = self._watches[host]
        return "" if watch.reachable else watch.detail

    def age_s(self, host: str) -> float | None:
        """How old the latest look at a host is."""
        observation = self._watches[host].observation
        return None if observation is None else self._clock() - observation.monotonic_s

    @property
    def all_heard(self) -> bool:
        """Whether every host was seen, or found to be unreachable."""
        return all(watch.reachable is not None for watch in self._watches.values())

    @property
    def all_reachable(self) -> bool:
        """Whether every host answers."""
        return all(watch.reachable for watch in self._watches.values())

    def snapshot(
        self,
        *,
        cordoned: Collection[str] = (),
        contended_seconds: Mapping[str, float] | None = None,
        recent_s: float | None = None,
    ) -> Snapshot:
        """The cluster as last seen. `recent_s` overrides over what time demand is taken (0: the last two looks)."""
        return assemble(
            datetime.now(UTC),
            [self._input(watch, cordoned, contended_seconds or {}) for watch in self._watches.values()],
            self.demand,
            Windows(
                now_s=self._clock(),
                recent_s=self.settings.recent_s if recent_s is None else recent_s,
                stale_after_s=self.settings.stale_after_s,
            ),
            self.rules,
            self._compatibility.verdicts,
        )

    async def look(self, *hosts: str) -> None:
        """Look at these hosts now, and have the CPU questions about what runs on them answered by all of them."""
        await asyncio.gather(*(self._look(self._watches[host]) for host in hosts if host in self._watches))
        await self._compatibility.ask((host for host in hosts if host in self._watches), self._guests())

    def asking_for_placement(self) -> dict[str, bool]:
        """VMs whose metadata asks the daemon to place and start them, by UUID: whether they are active already.

        A VM of which a definition is on a host that cannot be heard may be active there: it is left out.
        """
        asking: dict[str, bool] = {}
        unheard: set[str] = set()
        for watch in self._watches.values():
            for domain in watch.observation.domains if watch.observation else ():
                if not watch.reachable:
                    unheard.add(domain.uuid)
                if domain.facts.placement_autostart:
                    active = domain.state is not VmState.STOPPED
                    asking[domain.uuid] = asking.get(domain.uuid, False) or active
        return {uuid: active for uuid, active in asking.items() if uuid not in unheard}

    def defined_uuids(self) -> set[str]:
        """All VMs seen anywhere."""
        return {domain.uuid for domain in self._domains()}

    def _domains(self) -> list[DomainObservation]:
        return [domain for watch in self._watches.values() if watch.observation for domain in watch.observation.domains]

    def _guests(self) -> Sequence[DomainFacts]:
        return [domain.facts for domain in self._domains() if not domain.incoming]

    def _input(self, watch: _Watch, cordoned: Collection[str], contended_seconds: Mapping[str, float]) -> HostInput:
        host = watch.host
        return HostInput(
            name=host.name,
            reachable=bool(watch.reachable),
            observation=watch.observation,
            reserved_memory_mib=host.reserved_memory_mib,
            cordoned=host.name in cordoned,
            contended_seconds=contended_seconds.get(host.name, 0.0),
            labels=host.labels,
        )

    async def _keep_looking(self, watch: _Watch) -> None:
        while True:
            await self._look(watch)
            await self._compatibility.ask([watch.host.name], self._guests())
            interval_s = self.settings.sample_interval_s
            if watch.reachable is None:
                interval_s = min(interval_s, FIRST_LOOK_PATIENCE_S)
            try:
                await asyncio.wait_for(watch.wake.wait(), interval_s)
                await asyncio.sleep(EVENT_COALESCE_S)
            except TimeoutError:
                pass
            watch.wake.clear()

    async def _look(self, watch: _Watch) -> None:
        try:
            observation = await self._cluster.observe(watch.host.name)
        except HypervisorError as error:
            if watch.reachable is not None or self._clock() - watch.since_s >= FIRST_LOOK_PATIENCE_S:
                self._lost(watch, error.text)
            return
        except Exception as error:
            # A host that says something nobody foresaw must not take the others down with it.
            log.exception("host could not be read", host=watch.host.name)
            self._lost(watch, f"what it says could not be read: {error!r}")
            return
        if watch.observation is not None and observation.monotonic_s < watch.observation.monotonic_s:
            return
        watch.observation = observation
        self.demand.record(observation)
        self._note_whereabouts(observation)
        if not watch.reachable:
            watch.reachable, watch.detail = True, ""
            self._witness.on_reachable(watch.host.name, reachable=True, detail="")
            self._news()

    def _lost(self, watch: _Watch, detail: str) -> None:
        watch.detail = detail
        if watch.reachable is not False:
            watch.reachable = False
            self._witness.on_reachable(watch.host.name, reachable=False, detail=detail)
            self._news()

    def _news(self) -> None:
        self.changed.set()
        if self.all_heard:
            self.heard.set()

    def _note_whereabouts(self, observation: HostObservation) -> None:
        for domain in observation.domains:
            if domain.state is VmState.STOPPED or domain.incoming:
                continue
            known, since_s = self._whereabouts.get(domain.uuid, (observation.host, 0.0))
            if observation.monotonic_s < since_s:
                continue
            self._whereabouts[domain.uuid] = (observation.host, observation.monotonic_s)
            if known != observation.host:
                self._witness.on_moved(domain.uuid, domain.name, known, observation.host)
                self._wake(known)

    def _wake(self, host: str) -> None:
        if host in self._watches:
            self._watches[host].wake.set()


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
