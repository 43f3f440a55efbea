"""What the daemon counts and measures, in words of its own; Prometheus's registry stays inside.

The daemon calls the methods as things happen; what merely is (hosts, VMs) is read at every scrape.
"""

import platform
import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from .. import __version__
from ..cluster.model import Snapshot
from ..cluster.observation import EventKind
from ..cluster.reason import Reason
from ..operations.records import Decision, MigrationRecord, MigrationState, PlacementOutcome, PlacementRecord
from ..operations.settings import Mode
from . import catalogue
from .catalogue import Family
from .collector import ClusterCollector
from .control import HostStatus

_MS_PER_SECOND = 1000


class Metrics:
    """All metrics of one daemon. `registry` is what `server.serve_metrics` exposes."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot | None],
        hosts: Callable[[], list[HostStatus]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # A switch of the library's for the whole process. The series double the number of counters and tell nothing
        # that Prometheus does not find out by itself.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self._clock = clock
        self._migration_duration = _histogram(catalogue.MIGRATION_DURATION, registry)
        self._migration_downtime = _histogram(catalogue.MIGRATION_DOWNTIME, registry)
        self._prediction_error = _histogram(catalogue.MIGRATION_PREDICTION_ERROR, registry)
        self._migrations = _counter(catalogue.MIGRATIONS, registry)
        self._transferred = _counter(catalogue.MIGRATION_TRANSFERRED, registry)
        self._placements = _counter(catalogue.PLACEMENTS, registry)
        self._rejections = _counter(catalogue.REJECTIONS, registry)
        self._reservations = _gauge(catalogue.RESERVATIONS, registry)
        self._recommendations = _gauge(catalogue.RECOMMENDATIONS_PENDING, registry)
        self._decisions = _counter(catalogue.DECISIONS, registry)
        self._cycle_duration = _histogram(catalogue.CYCLE_DURATION, registry)
        self._cycles = _counter(catalogue.CYCLES, registry)
        self._cycle_last_success = _gauge(catalogue.CYCLE_LAST_SUCCESS, registry)
        self._events = _counter(catalogue.LIBVIRT_EVENTS, registry)
        self._reconnects = _counter(catalogue.LIBVIRT_RECONNECTS, registry)
        self._reload_successful = _gauge(catalogue.CONFIG_RELOAD_SUCCESSFUL, registry)
        self._reload_timestamp = _gauge(catalogue.CONFIG_RELOAD_TIMESTAMP, registry)
        self._mode = _gauge(catalogue.MODE_INFO, registry)
        _gauge(catalogue.BUILD_INFO, registry).labels(__version__, platform.python_version()).set(1)
        registry.register(ClusterCollector(snapshot, hosts))
        # A rate needs the zero before the first one.
        for outcome in PlacementOutcome:
            if outcome.final:
                self._placements.labels(outcome.value)
        for cycle_outcome in ("ok", "error"):
            self._cycles.labels(cycle_outcome)

    def migration_ended(self, record: MigrationRecord) -> None:
        """Count a migration in a final state, once. What is unknown of it (downtime, bytes) is not observed."""
        # Refused by the checks or by the hypervisor before anything moved.
        refused = record.state is MigrationState.FAILED and record.started_at is None
        outcome = "refused" if refused else record.state.value
        self._migrations.labels(record.source, record.destination, record.trigger.value, outcome).inc()
        seconds = _duration_seconds(record)
        if seconds is not None:
            self._migration_duration.labels(record.trigger.value, outcome).observe(seconds)
        if record.transferred_bytes is not None:
            self._transferred.inc(record.transferred_bytes)
        if record.state is not MigrationState.COMPLETED:
            return
        if record.downtime_ms is not None:
            self._migration_downtime.observe(record.downtime_ms / _MS_PER_SECOND)
        if record.predicted_seconds is not None and seconds:
            self._prediction_error.observe(abs(record.predicted_seconds - seconds) / seconds)

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

    def cycle_ended(self, seconds: float, *, ok: bool) -> None:
        """Measure a cycle; `ok` is false when an error ended it."""
        self._cycle_duration.observe(seconds)
        self._cycles.labels("ok" if ok else "error").inc()
        if ok:
            self._cycle_last_success.set(self._clock())

    def libvirt_event(self, host: str, event: EventKind) -> None:
        """Count an event of a host's hypervisor."""
        self._events.labels(host, event.value).inc()

    def reconnected(self, host: str) -> None:
        """Count a connection made again after a loss."""
        self._reconnects.labels(host).inc()

    def config_reloaded(self, *, ok: bool) -> None:
        """Tell whether the configuration was accepted, at the start and at each reload."""
        self._reload_successful.set(ok)
        if ok:
            self._reload_timestamp.set(self._clock())

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

    def host_removed(self, host: str) -> None:
        """Forget the counters of a host that is no longer configured."""
        self._events.remove_by_labels({"host": host})
        self._reconnects.remove_by_labels({"host": host})
        self._migrations.remove_by_labels({"source": host})
        self._migrations.remove_by_labels({"destination": host})


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
