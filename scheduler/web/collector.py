"""The metrics that describe the cluster as it is, made at every scrape: what has vanished is no longer told."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from ..cluster.model import HostState, Snapshot, VmState
from ..operations.records import MigrationRecord, Progress
from . import catalogue
from .catalogue import Family
from .control import HostStatus

_MIB = 1024 * 1024
_HOST_GAUGES: tuple[tuple[Family, Callable[[HostStatus], float | None]], ...] = (
    (catalogue.HOST_UP, lambda host: float(host.state != HostState.UNREACHABLE)),
    (catalogue.HOST_MAINTENANCE, lambda host: float(host.state == HostState.MAINTENANCE)),
    (catalogue.HOST_CPUS, lambda host: host.cpus),
    (catalogue.HOST_CPU_USAGE, lambda host: _ratio(host.cpu_used_cores, host.cpus)),
    (catalogue.HOST_MEMORY_CAPACITY, lambda host: _bytes(host.memory_mib)),
    (catalogue.HOST_MEMORY_RESERVED, lambda host: _bytes(host.reserved_memory_mib)),
    (catalogue.HOST_MEMORY_COMMITTED, lambda host: _bytes(host.committed_memory_mib)),
    (catalogue.HOST_MEMORY_FREE, lambda host: _bytes(host.free_memory_mib)),
    (catalogue.HOST_VMS_RUNNING, lambda host: host.vms_running),
    (catalogue.HOST_CONTENDED, lambda host: host.contended_seconds),
)
"""A value of None is unknown and makes no series."""
_PROGRESS_GAUGES: tuple[tuple[Family, Callable[[Progress], float | None], Callable[[Iterable[float]], float]], ...] = (
    (catalogue.PROGRESS_TRANSFERRED, lambda progress: progress.transferred_bytes, sum),
    (catalogue.PROGRESS_REMAINING, lambda progress: progress.remaining_bytes, sum),
    (catalogue.PROGRESS_DIRTY, lambda progress: progress.dirty_bytes_per_second, sum),
    (catalogue.PROGRESS_ITERATION, lambda progress: progress.iteration, max),
    (catalogue.PROGRESS_END, lambda progress: progress.expected_end_at, max),
)
"""The value of one migration, and what several of the same pair amount to."""


class ClusterCollector(Collector):
    """Gauges of hosts, VMs and the migrations under way. `snapshot` gives None until the first one is taken."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot | None],
        hosts: Callable[[], list[HostStatus]],
        running: Callable[[], Sequence[MigrationRecord]],
        clock: Callable[[], float],
    ) -> None:
        self._snapshot = snapshot
        self._hosts = hosts
        self._running = running
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """The families of this moment."""
        yield from _host_families(self._hosts())
        began = min((record.started_at for record in self._running() if record.started_at is not None), default=None)
        longest = _gauge(catalogue.MIGRATIONS_LONGEST)
        longest.add_metric([], 0.0 if began is None else max(0.0, self._clock() - began))
        yield longest
        yield from _progress_families(self._running())
        snapshot = self._snapshot()
        if snapshot is not None:
            yield from _snapshot_families(snapshot)


def _host_families(hosts: list[HostStatus]) -> Iterator[Metric]:
    for family, value_of in _HOST_GAUGES:
        gauge = _gauge(family)
        for host in hosts:
            value = value_of(host)
            if value is not None:
                gauge.add_metric([host.name], value)
        yield gauge
    info, in_flight = _gauge(catalogue.HOST_INFO), _gauge(catalogue.MIGRATIONS_IN_FLIGHT)
    for host in hosts:
        info.add_metric([host.name, host.cpu_model or ""], 1)
        in_flight.add_metric([host.name, "inbound"], host.inbound)
        in_flight.add_metric([host.name, "outbound"], host.outbound)
    yield info
    yield in_flight


def _progress_families(running: Sequence[MigrationRecord]) -> Iterator[Metric]:
    progress_of = defaultdict(list)
    for record in running:
        if record.progress is not None:
            progress_of[record.source, record.destination].append(record.progress)
    for family, value_of, amount in _PROGRESS_GAUGES:
        gauge = _gauge(family)
        for pair, progresses in progress_of.items():
            values = [value for value in map(value_of, progresses) if value is not None]
            if len(values) == len(progresses) or (values and amount is sum):
                gauge.add_metric(list(pair), amount(values))
        yield gauge


def _snapshot_families(snapshot: Snapshot) -> Iterator[Metric]:
    timestamp = _gauge(catalogue.SNAPSHOT_TIMESTAMP)
    timestamp.add_metric([], snapshot.taken_at.timestamp())
    yield timestamp
    stale = _gauge(catalogue.HOST_STALE)
    for host in snapshot.hosts:
        stale.add_metric([host.name], float(host.stale))
    yield stale
    vms = _gauge(catalogue.VMS)
    count_of = Counter(vm.state for vm in snapshot.vms)
    for state in VmState:
        vms.add_metric([state.value], count_of[state])
    yield vms
    quarantined = _gauge(catalogue.VMS_QUARANTINED)
    quarantined.add_metric([], sum(vm.quarantine is not None for vm in snapshot.vms))
    yield quarantined
    waits = [vm.cpu_wait_ratio for vm in snapshot.vms if vm.state is VmState.RUNNING and vm.cpu_wait_ratio is not None]
    yield _histogram(catalogue.VM_CPU_WAIT, waits)


def _gauge(family: Family) -> GaugeMetricFamily:
    return GaugeMetricFamily(family.name, family.help, labels=family.labels)


def _histogram(family: Family, values: list[float]) -> HistogramMetricFamily:
    in_bucket = [0] * (len(family.buckets) + 1)
    for value in values:
        in_bucket[bisect_left(family.buckets, value)] += 1
    cumulative: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*map(str, family.buckets), "+Inf"), in_bucket, strict=True):
        total += count
        cumulative.append((bound, total))
    return HistogramMetricFamily(family.name, family.help, buckets=cumulative, sum_value=sum(values))


def _bytes(mib: int | None) -> float | None:
    return None if mib is None else mib * _MIB


def _ratio(used: float | None, capacity: int | None) -> float | None:
    return None if used is None or not capacity else used / capacity
