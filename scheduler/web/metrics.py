"""What the daemon counts and measures, in words of its own; Prometheus's registry stays inside.

The daemon calls the methods as things happen; what merely is (hosts, VMs) is read at every scrape.
"""

import itertools
import platform
import time
from collections import Counter as Count
from collections.abc import Callable, Collection, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from .. import __version__
from ..cluster.model import Snapshot
from ..cluster.observation import EventKind
from ..cluster.reason import Reason
from ..operations.records import Decision, MigrationRecord, MigrationState, PlacementOutcome, PlacementRecord, Trigger
from ..operations.settings import Mode
from ..planner.plan import Unmoved
from ..planner.standing import Standing
from . import catalogue
from .catalogue import Family
from .collector import ClusterCollector
from .control import HostStatus

_MS_PER_SECOND = 1000
OTHER = "other"
"""A host that the config does not name: one that left it, or that somebody else migrates to."""


class Metrics:
    """All metrics of one daemon. `registry` is what `server.serve_metrics` exposes.

    A host has series of its own from `hosts_configured` on, and has none after one that no longer names it.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot | None],
        hosts: Callable[[], list[HostStatus]],
        running: Callable[[], Sequence[MigrationRecord]] = tuple,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # A switch of the library's for the whole process. The series double the number of counters and tell nothing
        # that Prometheus does not find out by itself.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self._clock = clock
        self._hosts: frozenset[str] = frozenset()
        self._migration_duration = _histogram(catalogue.MIGRATION_DURATION, registry)
        self._migration_downtime = _histogram(catalogue.MIGRATION_DOWNTIME, registry)
        self._prediction_error = _histogram(catalogue.MIGRATION_PREDICTION_ERROR, registry)
        self._overrun = _histogram(catalogue.MIGRATION_OVERRUN, registry)
        self._load_error = _histogram(catalogue.LOAD_PREDICTION_ERROR, registry)
        self._downtime_overrun = _histogram(catalogue.DOWNTIME_OVERRUN, registry)
        self._migrations = _counter(catalogue.MIGRATIONS, registry)
        self._transferred = _counter(catalogue.MIGRATION_TRANSFERRED, registry)
        self._placements = _counter(catalogue.PLACEMENTS, registry)
        self._rejections = _counter(catalogue.REJECTIONS, registry)
        self._reservations = _gauge(catalogue.RESERVATIONS, registry)
        self._recommendations = _gauge(catalogue.RECOMMENDATIONS_PENDING, registry)
        self._decisions = _counter(catalogue.DECISIONS, registry)
        self._unmoved = _gauge(catalogue.VMS_UNMOVED, registry)
        self._misplaced = _gauge(catalogue.VMS_MISPLACED, registry)
        self._homeless = _gauge(catalogue.HOST_LOSS_HOMELESS, registry)
        self._cycle_duration = _histogram(catalogue.CYCLE_DURATION, registry)
        self._cycles = _counter(catalogue.CYCLES, registry)
        self._cycle_last_success = _gauge(catalogue.CYCLE_LAST_SUCCESS, registry)
        self._events = _counter(catalogue.LIBVIRT_EVENTS, registry)
        self._reconnects = _counter(catalogue.LIBVIRT_RECONNECTS, registry)
        self._reload_successful = _gauge(catalogue.CONFIG_RELOAD_SUCCESSFUL, registry)
        self._reload_timestamp = _gauge(catalogue.CONFIG_RELOAD_TIMESTAMP, registry)
        self._leader = _gauge(catalogue.LEADER, registry)
        self._mode = _gauge(catalogue.MODE_INFO, registry)
        _gauge(catalogue.BUILD_INFO, registry).labels(__version__, platform.python_version()).set(1)
        registry.register(ClusterCollector(snapshot, hosts, running, clock))
        # A rate needs the zero before the first one.
        for outcome in PlacementOutcome:
            if outcome.final:
                self._placements.labels(outcome.value)
        for cycle_outcome in ("ok", "error"):
            self._cycles.labels(cycle_outcome)
        for trigger, state in itertools.product(Trigger, MigrationState):
            if state.final:
                self._migration_duration.labels(trigger.value, state.value)

    def migration_ended(self, record: MigrationRecord) -> None:
        """Count a migration in a final state, once. What is unknown of it (downtime, bytes) is not observed."""
        # Refused by the checks or by the hypervisor before anything moved.
        refused = record.state is MigrationState.FAILED and record.started_at is None
        outcome = "refused" if refused else record.state.value
        source, destination = self._known(record.source), self._known(record.destination)
        self._migrations.labels(source, destination, record.trigger.value, outcome).inc()
        seconds = _duration_seconds(record)
        if seconds is not None:
            self._migration_duration.labels(record.trigger.value, outcome).observe(seconds)
        if record.transferred_bytes is not None:
            self._transferred.inc(record.transferred_bytes)
        if record.state is not MigrationState.COMPLETED:
            return
        if record.downtime_ms is not None:
            self._migration_downtime.observe(record.downtime_ms / _MS_PER_SECOND)
            if record.predicted_downtime_ms:
                self._downtime_overrun.observe(record.downtime_ms / record.predicted_downtime_ms)
        if record.predicted_seconds and seconds:
            self._prediction_error.observe(abs(record.predicted_seconds - seconds) / seconds)
            self._overrun.observe(seconds / record.predicted_seconds)

    def load_compared(self, error_ratio: float) -> None:
        """A host's CPU use after a migration was held against what was expected."""
        self._load_error.observe(error_ratio)

    def placement_ended(self, record: PlacementRecord) -> None:
        """Count a placement."""
        self._placements.labels(record.outcome.value).inc()

    def rejected(self, reasons: Iterable[Reason]) -> None:
        """Count hosts that filters ruled out when a VM was placed or moved."""
        for reason in reasons:
            self._rejections.labels(reason.code).inc()

    def decided(self, decision: Decision) -> None:
        """Count what a cycle decided."""
        self._decisions.labels(decision.kind).inc()

    def unmoved(self, unmoved: Iterable[Unmoved]) -> None:
        """Tell which VMs should leave their host and do not, in the place of what was told before."""
        count = Count((one.host, code) for one in unmoved for code in {reason.code for reason in one.reasons})
        self._unmoved.clear()
        for (host, code), vms in count.items():
            if host in self._hosts:
                self._unmoved.labels(host, code).set(vms)

    def stands(self, standing: Standing | None) -> None:
        """Tell how the cluster stands, in the place of what was told before; None when that is unknown."""
        self._homeless.clear()
        self._misplaced.clear()
        if standing is None:
            return
        for host in self._hosts & standing.homeless.keys():
            self._homeless.labels(host).set(standing.homeless[host])
        for rule, vms in standing.misplaced.items():
            self._misplaced.labels(rule).set(vms)

    def cycle_ended(self, seconds: float, *, ok: bool) -> None:
        """Measure a cycle; `ok` is false when an error ended it."""
        self._cycle_duration.observe(seconds)
        self._cycles.labels("ok" if ok else "error").inc()
        if ok:
            self._cycle_last_success.set(self._clock())

    def libvirt_event(self, host: str, event: EventKind) -> None:
        """Count an event of a host's hypervisor."""
        if host in self._hosts:
            self._events.labels(host, event.value).inc()

    def reconnected(self, host: str) -> None:
        """Count a connection made again after a loss."""
        if host in self._hosts:
            self._reconnects.labels(host).inc()

    def config_reloaded(self, *, ok: bool) -> None:
        """Tell whether the configuration was accepted, at the start and at each reload."""
        self._reload_successful.set(ok)
        if ok:
            self._reload_timestamp.set(self._clock())

    def leads(self, *, leads: bool) -> None:
        """Tell whether this daemon decides for the cluster."""
        self._leader.set(leads)

    def mode_set(self, mode: Mode) -> None:
        """Tell the mode in force."""
        for known in Mode:
            self._mode.labels(known.value).set(known is mode)

    def reservations_held(self, count: int) -> None:
        """Tell for how many VMs room is kept."""
        self._reservations.set(count)

    def recommendations_pending(self, count: int) -> None:
        """Tell how many recommendations wait."""
        self._recommendations.set(count)

    def hosts_configured(self, hosts: Collection[str]) -> None:
        """Tell which hosts there are; all series of others are dropped."""
        gone, self._hosts = self._hosts - set(hosts), frozenset(hosts)
        for host in gone:
            for metric in (self._events, self._reconnects, self._unmoved, self._homeless):
                metric.remove_by_labels({"host": host})
            self._migrations.remove_by_labels({"source": host})
            self._migrations.remove_by_labels({"destination": host})

    def _known(self, host: str) -> str:
        """The label of a host; empty where none was found for the VM."""
        return host if host in self._hosts or not host else OTHER


def _duration_seconds(record: MigrationRecord) -> float | None:
    """As measured, else as the journal's times tell; None when it never began."""
    if record.duration_seconds is not None:
        return record.duration_seconds
    if record.started_at is None or record.ended_at is None:
        return None
    return max(0.0, record.ended_at - record.started_at)


def _counter(family: Family, registry: CollectorRegistry) -> Counter:
    return Counter(family.name, family.help, family.labels, registry=registry)


def _gauge(family: Family, registry: CollectorRegistry) -> Gauge:
    return Gauge(family.name, family.help, family.labels, registry=registry)


def _histogram(family: Family, registry: CollectorRegistry) -> Histogram:
    return Histogram(family.name, family.help, family.labels, buckets=family.buckets, registry=registry)
