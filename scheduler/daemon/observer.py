"""Keeps the picture of the cluster fresh: looks at every host in turn and when an event says that something happened.

Events are hints, looks are truth: an event only makes the next look come at once.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import structlog

from ..cluster.assemble import HostInput, Picture, Windows
from ..cluster.demand import DemandBook
from ..cluster.model import Snapshot, VmState
from ..cluster.observation import DomainFacts, DomainObservation, Event, EventKind, HostObservation
from ..cluster.ports import HypervisorCluster, HypervisorError
from ..cluster.rules import Rules
from ..operations.clock import Clock
from .compatibility import CpuCompatibility, GuestCpu, kinds_of
from .dirtying import DirtyRates
from .hosts import same_machine_as
from .waiting import end, happens
from .whereabouts import Whereabouts

log = structlog.get_logger(__name__)

EVENT_COALESCE_S = 0.05
"""A burst of events (a migration sends a dozen) makes one look."""
DRAWN_AT_ONCE = 16
"""Of so many hosts is the picture renewed before others get a turn on the loop."""
CAUGHT_UP_AT_ONCE = 500
"""Answers about CPUs are told of so many VMs at the next snapshot, of more with the next look at their hosts."""
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
    kinds: Mapping[GuestCpu, DomainFacts] = field(default_factory=dict)
    """The kinds of guest CPU that the latest look shows."""
    reachable: bool | None = None
    """None: not known yet."""
    lost_at_s: float = 0.0
    detail: str = "never seen yet"
    """Why the last look failed; empty when it did not."""


class Observer:
    """The latest look at every host, the demand windows, and the snapshot made of them."""

    def __init__(self, cluster: HypervisorCluster, witness: Witness, settings: ObserverSettings, clock: Clock) -> None:
        self.settings = settings
        self.rules = Rules()
        self.changed = asyncio.Event()
        """Set when something happened that a cycle should look at."""
        self.heard = asyncio.Event()
        """Set once every host was seen, or found to be unreachable."""
        self._cluster = cluster
        # From now on, so that nothing is missed that happens while hosts are being connected.
        self._events = cluster.events()
        self._witness = witness
        self._clock = clock
        self._watches: dict[str, _Watch] = {}
        self._demand = DemandBook()
        self._dirty_rates = DirtyRates(cluster, self._demand, clock)
        self._whereabouts = Whereabouts()
        self.compatibility = CpuCompatibility(cluster, self._answers_changed)
        self._recent = Picture(self._demand, self.compatibility.verdicts)
        """With demand over the settings' `recent_s`."""
        self._latest = Picture(self._demand, self.compatibility.verdicts)
        """With demand over the last two looks."""
        self._all_kinds: dict[GuestCpu, DomainFacts] | None = None
        """Those of all hosts; None: to be joined anew."""
        self._outdated: dict[str, None] = {}
        """Hosts whose VMs may not have the latest answers about CPUs."""
        self._undrawn: dict[str, bool] = {}
        """Hosts that `_latest` does not show as they were last seen."""

    def watch(self, host: WatchedHost) -> None:
        """Begin to look at a host, or take over what the config now says of it."""
        if host.name in self._watches:
            self._watches[host.name].host = host
            self._draw(self._watches[host.name])
            return
        watch = self._watches[host.name] = _Watch(host, self._clock.monotonic())
        self._draw(watch)
        watch.task = asyncio.create_task(self._keep_looking(watch), name=f"look-{host.name}")

    async def unwatch(self, name: str) -> None:
        """Stop looking at a host and forget it."""
        watch = self._watches.pop(name)
        self._all_kinds = None
        self._recent.forget(name, self._windows(self.settings.recent_s))
        self._latest.forget(name, self._windows(0.0))
        self._outdated.pop(name, None)
        self._undrawn.pop(name, None)
        self.compatibility.forget(name)
        self._whereabouts.lost(name)
        self._news()
        await end(watch.task)

    async def close(self) -> None:
        """Stop looking at all."""
        await end(*(watch.task for watch in self._watches.values()))
        await self.compatibility.close()
        await self._dirty_rates.close()

    async def follow_events(self) -> None:
        """Take in what the hypervisors tell, until cancelled."""
        async for event in self._events:
            watch = self._watches.get(event.host)
            if watch is None:
                continue
            if event.kind is EventKind.CONNECTED:
                self.compatibility.forget(event.host)
                self._dirty_rates.forget(event.host)
            elif event.kind is EventKind.DISCONNECTED:
                self._lost(watch, event.detail or "connection lost")
            self._witness.on_event(event)
            watch.wake.set()
            if event.kind is not EventKind.MIGRATION_ITERATION:
                self.changed.set()

    @property
    def names(self) -> list[str]:
        """All hosts, in the order in which they were configured."""
        return list(self._watches)

    @property
    def reachable(self) -> list[str]:
        """The hosts that answer."""
        return [name for name, watch in self._watches.items() if watch.reachable]

    def detail(self, host: str) -> str:
        """Why a host is unreachable; empty when it is not."""
        watch = self._watches[host]
        return "" if watch.reachable else watch.detail

    def age_s(self, host: str) -> float | None:
        """How old the latest look at a host is."""
        observation = self._watches[host].observation
        return None if observation is None else self._clock.monotonic() - observation.monotonic_s

    @property
    def all_heard(self) -> bool:
        """Whether every host was seen, or found to be unreachable."""
        return all(watch.reachable is not None for watch in self._watches.values())

    def lately_lost(self, within_s: float) -> list[str]:
        """Hosts that were lost in the last `within_s` seconds: what runs there now is a guess."""
        since_s = self._clock.monotonic() - within_s
        return [name for name, watch in self._watches.items() if watch.reachable is False and watch.lost_at_s > since_s]

    @property
    def all_reachable(self) -> bool:
        """Whether every host answers."""
        return all(watch.reachable for watch in self._watches.values())

    def snapshot(self) -> Snapshot:
        """The cluster as last seen."""
        return self._snapshot(self._recent)

    async def latest(self) -> Snapshot:
        """The same, with demand over the last two looks only. Asked for rarely, so it is drawn only then."""
        windows = self._windows(0.0)
        for place, host in enumerate(list(self._undrawn), start=1):
            if self._undrawn.pop(host, False):
                self._latest.take_in(_input(self._watches[host]), windows)
            if place % DRAWN_AT_ONCE == 0:
                await asyncio.sleep(0)
        return self._snapshot(self._latest)

    def snapshot_of(self, host: str) -> Snapshot:
        """One host as last seen, with what is known of it alone; empty when it is not watched."""
        if host not in self._watches:
            return Snapshot(taken_at=self._now(), hosts=(), vms=(), rules=self.rules)
        if host in self._outdated:
            self._draw(self._watches[host])
        return self._recent.of(host, self._now(), self._windows(self.settings.recent_s), self.rules)

    async def look(self, *hosts: str) -> None:
        """Look at these hosts now, and have the CPU questions about all guests answered by them."""
        known = [host for host in hosts if host in self._watches]
        await asyncio.gather(*(self._look(self._watches[host]) for host in known))
        await self.compatibility.ask([host for host in known if self._is_reachable(host)], self._kinds())

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

    def forget_gone(self) -> None:
        """Drop what is remembered of VMs that are nowhere any more; a host that cannot be heard may have them."""
        if self.all_reachable:
            uuids = self.defined_uuids()
            self._demand.forget_all_but(uuids)
            self._whereabouts.forget_all_but(uuids)
            self.compatibility.forget_all_but(self._kinds())

    def _snapshot(self, picture: Picture) -> Snapshot:
        self._catch_up()
        windows, moving = self._windows(self.settings.recent_s), self._whereabouts.changing_hands()
        return picture.snapshot(self._now(), windows, self.rules, moving)

    def _draw(self, watch: _Watch) -> None:
        """Have the pictures show what is known of a host now."""
        self._outdated.pop(watch.host.name, None)
        self._undrawn[watch.host.name] = True
        self._recent.take_in(_input(watch), self._windows(self.settings.recent_s))

    def _windows(self, recent_s: float) -> Windows:
        return Windows(now_s=self._clock.monotonic(), recent_s=recent_s, stale_after_s=self.settings.stale_after_s)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)

    def _answers_changed(self) -> None:
        self._outdated = dict.fromkeys(self._watches)

    def _catch_up(self) -> None:
        vms = 0
        while self._outdated and vms < CAUGHT_UP_AT_ONCE:
            watch = self._watches[next(iter(self._outdated))]
            vms += len(watch.observation.domains) if watch.observation else 0
            self._draw(watch)

    def _domains(self) -> list[DomainObservation]:
        return [domain for watch in self._watches.values() if watch.observation for domain in watch.observation.domains]

    def _kinds(self) -> Mapping[GuestCpu, DomainFacts]:
        if self._all_kinds is None:
            self._all_kinds = {}
            for watch in self._watches.values():
                self._all_kinds.update(watch.kinds)
        return self._all_kinds

    def _now_of_kinds(self, watch: _Watch, kinds: Mapping[GuestCpu, DomainFacts]) -> None:
        if kinds.keys() != watch.kinds.keys():
            watch.kinds, self._all_kinds = kinds, None

    def _is_reachable(self, host: str) -> bool:
        return host in self._watches and bool(self._watches[host].reachable)

    async def _keep_looking(self, watch: _Watch) -> None:
        while True:
            await self.look(watch.host.name)
            interval_s = self.settings.sample_interval_s
            if watch.reachable is None:
                interval_s = min(interval_s, FIRST_LOOK_PATIENCE_S)
            if await happens(watch.wake, interval_s, self._clock):
                await self._clock.sleep(EVENT_COALESCE_S)
            watch.wake.clear()

    async def _look(self, watch: _Watch) -> None:
        name = watch.host.name
        try:
            observation = await self._cluster.observe(name)
            if self._watches.get(name) is watch:
                self._take_in(watch, observation)
        except HypervisorError as error:
            self._failed(watch, error.text)
        except Exception as error:
            # A host that says something nobody foresaw must not take the others down with it.
            failure = f"what it says could not be read: {error!r}"
            if failure != watch.detail:
                log.exception("host could not be read", host=name)
            self._failed(watch, failure)

    def _failed(self, watch: _Watch, failure: str) -> None:
        starting = watch.reachable is None and self._clock.monotonic() - watch.since_s < FIRST_LOOK_PATIENCE_S
        if starting:
            watch.detail = failure
        elif self._watches.get(watch.host.name) is watch:
            self._lost(watch, failure)

    def _take_in(self, watch: _Watch, observation: HostObservation) -> None:
        if watch.observation is not None and observation.monotonic_s < watch.observation.monotonic_s:
            return
        twins = self._twins(observation)
        if twins and twins[0] is not watch:
            self._refuse(watch, twins[0])
            return
        watch.observation = observation
        self._now_of_kinds(watch, kinds_of(domain.facts for domain in observation.domains if not domain.incoming))
        for twin in twins[1:]:
            self._refuse(twin, watch)
        self._demand.record(observation)
        self._dirty_rates.seen(observation)
        came_back = not watch.reachable
        watch.reachable, watch.detail = True, ""
        self._draw(watch)
        moved, in_doubt = self._whereabouts.note(observation)
        for host in in_doubt & self._watches.keys():
            self._watches[host].wake.set()
        for one in moved:
            self._witness.on_moved(one.uuid, one.vm, one.source, one.destination)
        if came_back:
            self._witness.on_reachable(observation.host, reachable=True, detail="")
            self._news()

    def _twins(self, look: HostObservation) -> list[_Watch]:
        """The hosts that say they are the machine of this look, itself among them, in the order they were taken in."""
        return [
            watch
            for name, watch in self._watches.items()
            if name == look.host
            or (look.facts.uuid and watch.observation is not None and watch.observation.facts.uuid == look.facts.uuid)
        ]

    def _refuse(self, watch: _Watch, original: _Watch) -> None:
        """Two addresses of one libvirtd are one host: counted twice, its room would be given away twice."""
        watch.observation = None
        self._now_of_kinds(watch, {})
        self._lost(watch, same_machine_as(original.host.name))

    def _lost(self, watch: _Watch, detail: str) -> None:
        known, watch.reachable, watch.detail = watch.reachable, False, detail
        self._draw(watch)
        if known is not False:
            watch.lost_at_s = self._clock.monotonic()
            self._whereabouts.lost(watch.host.name)
            self._witness.on_reachable(watch.host.name, reachable=False, detail=detail)
            self._news()

    def _news(self) -> None:
        self.changed.set()
        if self.all_heard:
            self.heard.set()


def _input(watch: _Watch) -> HostInput:
    return HostInput(
        name=watch.host.name,
        reachable=bool(watch.reachable),
        observation=watch.observation,
        reserved_memory_mib=watch.host.reserved_memory_mib,
        labels=watch.host.labels,
    )
