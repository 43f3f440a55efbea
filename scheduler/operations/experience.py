"""What migrations have taught: how fast each pair of hosts carries, and of which VMs and hosts too much was hoped.

Predictions are made of it; it is itself made of the journal's records, so a restart forgets nothing.
"""

from collections import defaultdict, deque
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Final, NamedTuple

from ..cluster.model import Host, Link, Snapshot
from .records import MigrationRecord, MigrationState

MIB = 1024 * 1024
PER_LINK: Final = 20
"""The latest migrations over a link that count: enough that one on a busy day does not."""
PER_VM: Final = 5
PER_HOST: Final = 20
VMS_OF_A_HOST: Final = 3
"""What so many different VMs met with is their host's doing."""
OVERRUN_FACTOR: Final = 1.5
"""Predictions that are missed by less are good enough."""
OVERRUNS: Final = 2
"""One migration that took long tells of its moment rather than of the VM."""
_SHORT_SECONDS: Final = 5.0
"""A migration that takes so little longer than predicted troubles nobody, by whatever factor."""


class _Run(NamedTuple):
    sent_mib: float
    transfer_seconds: float
    overhead_seconds: float
    downtime_ms: float | None


class Experience:
    """Learns from each migration that has ended, and lays what it knows over a snapshot."""

    def __init__(self) -> None:
        self._runs: defaultdict[tuple[str, str], deque[_Run]] = defaultdict(partial(deque, maxlen=PER_LINK))
        self._factors: defaultdict[str, deque[float]] = defaultdict(partial(deque, maxlen=PER_VM))
        """Actual to predicted duration, by VM UUID."""
        self._host_factors: defaultdict[str, deque[tuple[str, float]]] = defaultdict(partial(deque, maxlen=PER_HOST))
        """The same of migrations from and to each host, each with the VM's UUID."""
        self._links: dict[tuple[str, str], Link] = {}
        self._overruns: dict[str, float] = {}
        self._host_overruns: dict[str, float] = {}

    def learn(self, record: MigrationRecord) -> None:
        """Take in a migration; only one that has completed teaches anything. Oldest first."""
        if record.state is not MigrationState.COMPLETED or record.duration_seconds is None:
            return
        if record.transfer_seconds and record.transferred_bytes:
            way = record.source, record.destination
            overhead_s = max(0.0, record.duration_seconds - record.transfer_seconds)
            sent_mib = record.transferred_bytes / MIB
            self._runs[way].append(_Run(sent_mib, record.transfer_seconds, overhead_s, record.downtime_ms))
            self._links[way] = _link(*way, self._runs[way])
        if record.predicted_seconds:
            late_s = record.duration_seconds - record.predicted_seconds
            factor = record.duration_seconds / record.predicted_seconds if late_s > _SHORT_SECONDS else 1.0
            self._factors[record.uuid].append(factor)
            _judge(self._overruns, record.uuid, list(self._factors[record.uuid]), enough=OVERRUNS)
            for host in (record.source, record.destination):
                self._learn_of_host(host, record.uuid, factor)

    def on(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with what is known of its links and VMs."""
        hosts = {host.name for host in snapshot.hosts}
        links = tuple(link for way, link in sorted(self._links.items()) if hosts.issuperset(way))
        snapshot = replace(snapshot, links=links, hosts=tuple(map(self._with_overrun, snapshot.hosts)))
        if not self._overruns:
            return snapshot
        vms = tuple(
            replace(vm, migration_overrun_factor=self._overruns[vm.uuid]) if vm.uuid in self._overruns else vm
            for vm in snapshot.vms
        )
        return replace(snapshot, vms=vms)

    def _learn_of_host(self, host: str, uuid: str, factor: float) -> None:
        """Each VM counts once, with its latest: one that is always late is not its host's fault."""
        known = self._host_factors[host]
        known.append((uuid, factor))
        _judge(self._host_overruns, host, list(dict(known).values()), enough=VMS_OF_A_HOST)

    def _with_overrun(self, host: Host) -> Host:
        factor = self._host_overruns.get(host.name)
        return host if factor is None else replace(host, migration_overrun_factor=factor)


def _judge(overruns: dict[str, float], key: str, factors: list[float], *, enough: int) -> None:
    """Note the median of `factors` for `key` if it is too high and there are enough of them."""
    middle = median(factors)
    if len(factors) >= enough and middle >= OVERRUN_FACTOR:
        overruns[key] = round(middle, 2)
    else:
        overruns.pop(key, None)


def _link(source: str, destination: str, runs: deque[_Run]) -> Link:
    """Bandwidth over all that was sent, so that large migrations count most, 1 MiB/s at least; a middling overhead."""
    sent_mib, seconds = sum(run.sent_mib for run in runs), sum(run.transfer_seconds for run in runs)
    downtimes_ms = [run.downtime_ms for run in runs if run.downtime_ms is not None]
    return Link(
        source=source,
        destination=destination,
        bandwidth_mib_per_s=max(1.0, round(sent_mib / seconds, 3)),
        overhead_seconds=round(median(run.overhead_seconds for run in runs), 3),
        downtime_ms=median(downtimes_ms) if downtimes_ms else None,
    )
