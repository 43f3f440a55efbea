"""The daemon: its rooms built from the config, run together, and changed together when the config is."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import lru_cache
from pathlib import Path

import structlog

from ..cluster.model import Snapshot, Vm
from ..cluster.observation import Event
from ..cluster.ports import HypervisorCluster
from ..config.loading import ConfigError, load
from ..config.models import Config
from ..config.reload import differences
from ..operations.clock import Clock
from ..operations.context import Context
from ..operations.drain import Drains
from ..operations.experience import Experience
from ..operations.gate import Gate
from ..operations.history import Move
from ..operations.journal import Journal
from ..operations.migration import Migrations
from ..operations.placement import Placements
from ..operations.records import MigrationRecord, PlacementRecord, Trigger
from ..operations.settings import Mode
from ..operations.worker import Worker
from ..planner.placement import check_move
from ..web.control import ControlError, HostStatus
from ..web.metrics import Metrics
from .autostart import Autostart
from .cycle import Cycle, CycleSettings
from .herald import Herald
from .hindsight import Hindsight
from .notices import Notices
from .observer import Observer, ObserverSettings
from .planning import Planning
from .roster import Roster
from .service import Configured, Rooms, Service
from .view import View
from .waiting import end, happens

log = structlog.get_logger(__name__)

REMEMBERED_MIGRATIONS = 2_000
"""Of so many of the latest is learned how long migrations take."""
WAIT_FOR_HOSTS_S = 12.0
"""How long the start waits for hosts that do not answer; it goes on without them."""
MODES_KEPT = 65_536
"""VMs whose mode is remembered, where not all have the same."""


class Daemon:
    """Everything between the hypervisors and the API. `service` is what the API offers."""

    def __init__(
        self,
        config: Config,
        path: Path | None,
        cluster: HypervisorCluster,
        journal: Journal,
        clock: Clock,
        set_up_logs: Callable[[Config], None] = lambda _: None,
    ) -> None:
        self.notices = Notices(clock.wall)
        self.metrics = Metrics(self._snapshot, self._hosts, self._running, clock=clock.wall)
        self._cluster = cluster
        self._journal = journal
        self._clock = clock
        self._path = path
        self._set_up_logs = set_up_logs
        self._configured = Configured(config=config, path=str(path or ""), started_with=config)
        self._side_tasks: set[asyncio.Task[None]] = set()
        self._one_config_at_a_time = asyncio.Lock()
        self.access = config.api.to_access()
        """Who may ask for what, by the config in force."""
        self.keep_load_seconds = config.history.keep_load_seconds
        """How long the record of load is kept, likewise."""
        self._herald = Herald(self.metrics, self.notices)
        self._gate = Gate(config.to_limits(), clock)
        self._observer = Observer(cluster, self, _observer_settings(config), clock)
        self.worker = Worker("think", threads=2)
        """For what cannot wait for a plan to be made."""
        self._experience = Experience()
        self._hindsight = Hindsight(self._observer.snapshot, self.metrics.load_compared, clock)
        self._view = View(
            self._observer,
            self._gate,
            self._experience,
            self._cordoned,
            clock,
            self.worker,
            lambda: self._migrations.settings,
        )
        context = Context(
            cluster=cluster,
            view=self._view,
            gate=self._gate,
            journal=journal,
            check=lambda snapshot, vm, host: check_move(snapshot, vm, host, self._configured.planner),
            clock=clock,
            worker=self.worker,
            listener=self._on_record,
        )
        self._migrations = Migrations(context, config.to_migration_settings())
        self._placements = Placements(context, config.to_planner_settings())
        self.planning = Planning(self._view.snapshot, clock)
        self._drains = Drains(
            context, self._migrations, lambda hosts: self.planning.drain(self._configured.planner, hosts)
        )
        self._roster = Roster(
            cluster, self._observer, self._gate, self._migrations, self._drains, clock, self._on_roster
        )
        self._autostart = Autostart(self._observer, self._placements, journal, clock, self.worker)
        self.cycle = Cycle(
            self._cycle_settings(config),
            observer=self._observer,
            view=self._view,
            gate=self._gate,
            journal=journal,
            migrations=self._migrations,
            autostart=self._autostart,
            herald=self._herald,
            planning=self.planning,
            clock=clock,
        )
        self.service = Service(self._rooms(), self.reload)

    async def start(self) -> None:
        """Connect, hear of the hosts, and take up what was under way. `follow_events` must be running."""
        async with self._one_config_at_a_time:
            self._settle(self._configured.config)
            self.metrics.config_reloaded(ok=True)
            # Before anything is seen: moves are remembered in their order.
            self._gate.restore(await self._journal.moves())
            for record in reversed(await self._journal.migrations(limit=REMEMBERED_MIGRATIONS)):
                self._experience.learn(record)
            await self._roster.follow(self._configured.config)
            if not await happens(self._observer.heard, WAIT_FOR_HOSTS_S, self._clock):
                log.warning("not every host was heard of, starting all the same")
            await self._placements.recover()
            # What migrates already must be known before drains ask for more.
            await self._migrations.adopt()
            await self._drains.restore()
            self.service.ready = True
            self.metrics.leads(leads=True)

    async def follow_events(self) -> None:
        """Hear what the hypervisors tell, until cancelled."""
        await self._observer.follow_events()

    async def stop(self) -> None:
        """Let go of everything; what migrates goes on and is adopted at the next start."""
        self.service.ready = False
        self.metrics.leads(leads=False)
        self.notices.close()
        await self._roster.stop()
        await self._autostart.stop()
        await self._hindsight.close()
        await self._placements.stop()
        await self._drains.stop()
        await self._migrations.stop()
        self.planning.close()
        self.worker.close()
        await self._observer.close()
        await end(*self._side_tasks)
        await self._cluster.close()

    async def reload(self) -> str:
        """Read the config again and put it in force; what changed. ControlError `invalid` when it has mistakes."""
        async with self._one_config_at_a_time:
            try:
                new = load(self._path)
            except ConfigError as error:
                self._configured.error = str(error)
                self.metrics.config_reloaded(ok=False)
                self.notices.publish("config", f"config refused, the old one stays in force: {error}")
                log.warning("config refused, the old one stays in force", problems=list(error.problems))
                raise ControlError("invalid", str(error)) from error
            changes = differences(self._configured.config, new)
            self._configured.config, self._configured.error = new, ""
            self._set_up_logs(new)
            self._settle(new)
            await self._roster.follow(new)
        self.metrics.config_reloaded(ok=True)
        leaving = sorted(self._roster.leaving)
        log.info(
            "config reloaded",
            changes=list(changes.lines),
            needs_restart=self._configured.needs_restart,
            let_go_later=leaving,
        )
        self._observer.changed.set()
        later = f" (let go when nothing is under way there: {', '.join(leaving)})" if leaving else ""
        self.notices.publish("config", f"{changes}{later}")
        return f"{changes}{later}"

    # What is seen: see observer.Witness

    def on_event(self, event: Event) -> None:
        """The hypervisor told something."""
        self._herald.event(event)
        if self.service.ready:  # before, what migrates is not told from what somebody else has begun
            self._migrations.on_event(event)

    def on_moved(self, uuid: str, name: str, source: str, destination: str) -> None:
        """A VM runs elsewhere. When we did not do it a person did, and meant it."""
        if self._gate.busy(uuid) or not self.service.ready:
            return
        self._herald.moved_by_others(name, source, destination)
        self._gate.note_manual_move(uuid, source, destination)
        move = Move(uuid, source, destination, self._clock.wall(), Trigger.ADOPTED, success=True)
        self._aside(self._journal.add_move(move))

    def on_reachable(self, host: str, *, reachable: bool, detail: str) -> None:
        """A host was lost or came back."""
        self._herald.host(host, reachable=reachable, detail=detail)
        if reachable and self.service.ready:
            self._aside(self._placements.recover())

    def _on_record(self, record: MigrationRecord | PlacementRecord) -> None:
        """A migration or placement has changed."""
        if isinstance(record, PlacementRecord):
            self._herald.placement(record)
            return
        self._herald.migration(record)
        self._hindsight.note(record)
        if record.state.final:
            self._experience.learn(record)
            self._view.restart_contention(record.source, record.destination)
            self._observer.changed.set()

    def _on_roster(self) -> None:
        """Hosts have come or gone."""
        self.metrics.hosts_configured(self._roster.names)
        self._observer.changed.set()

    # The config in force

    def _settle(self, config: Config) -> None:
        """Hand every room its part of the config."""
        self._observer.settings = _observer_settings(config)
        self._observer.rules = config.to_rules()
        self.access = config.api.to_access()
        self.keep_load_seconds = config.history.keep_load_seconds
        self._gate.limits = config.to_limits()
        self._gate.mode_hold = _mode_holds(config)
        self._journal.retain(config.to_retention())
        self._migrations.settings = config.to_migration_settings()
        self._placements.settings = config.to_planner_settings()
        self.cycle.settings = self._cycle_settings(config)
        self.metrics.mode_set(config.mode)

    def _cycle_settings(self, config: Config) -> CycleSettings:
        return CycleSettings(
            planner=config.to_planner_settings(),
            mode=config.mode,
            sample_interval_s=config.sample_interval_seconds,
            sweep_interval_s=config.sweep_interval_seconds,
            event_debounce_s=config.event_debounce_seconds,
            mode_of=_modes(config),
        )

    def _rooms(self) -> Rooms:
        return Rooms(
            configured=self._configured,
            cluster=self._cluster,
            observer=self._observer,
            view=self._view,
            gate=self._gate,
            journal=self._journal,
            migrations=self._migrations,
            placements=self._placements,
            drains=self._drains,
            roster=self._roster,
            cycle=self.cycle,
            notices=self.notices,
            clock=self._clock,
            worker=self.worker,
        )

    # Asked for later, when the rooms they look into are there.

    def _snapshot(self) -> Snapshot:
        return self.service.snapshot()

    def _hosts(self) -> list[HostStatus]:
        return self.service.hosts()

    def _running(self) -> Sequence[MigrationRecord]:
        return self._migrations.running()

    def _cordoned(self) -> Collection[str]:
        return {*self._drains.cordoned(), *self._gate.leaving}

    def _aside(self, work: Coroutine[None, None, None]) -> None:
        """Do something small without making the caller wait; an error in it is logged."""
        task = asyncio.create_task(_logged(work))
        self._side_tasks.add(task)
        task.add_done_callback(self._side_tasks.discard)


async def _logged(work: Coroutine[None, None, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("something beside the cycle went wrong")


def _observer_settings(config: Config) -> ObserverSettings:
    """Demand is taken over a minute, or over the hold where that is shorter: older load is no evidence then."""
    return ObserverSettings(
        sample_interval_s=config.sample_interval_seconds, recent_s=min(60.0, config.balance.hold_seconds)
    )


def _modes(config: Config) -> Callable[[Vm], Mode]:
    """The mode that holds for a VM. It is asked for every VM of every snapshot."""
    if not _modes_differ(config):
        return lambda _: config.mode

    @lru_cache(maxsize=MODES_KEPT)
    def mode_of(name: str, uuid: str, labels: frozenset[tuple[str, str]], host: str | None) -> Mode:
        return config.mode_of(name=name, uuid=uuid, labels=dict(labels), host=host)

    return lambda vm: mode_of(vm.name, vm.uuid, frozenset(vm.labels.items()), vm.host)


def _mode_holds(config: Config) -> Callable[[Vm], str | None] | None:
    """A VM that is only observed is planned around, unless the whole cluster is: then plans tell what would be."""
    if config.mode is Mode.OBSERVE or not _modes_differ(config):
        return None
    mode_of = _modes(config)
    return lambda vm: "its mode is observe" if mode_of(vm) is Mode.OBSERVE else None


def _modes_differ(config: Config) -> bool:
    return bool(config.modes) or any(host.mode is not None for host in config.hosts)
