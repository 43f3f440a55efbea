"""What migrations have taught: how fast each pair of hosts carries, and whose migrations took longer than predicted.

Predictions are made of it; it is itself made of the journal's records, so a restart forgets nothing.
"""

from collections import defaultdict, deque
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Final, NamedTuple

from ..cluster.model import Link, Snapshot
from .records import MigrationRecord, MigrationState

MIB = 1024 * 1024
PER_LINK: Final = 20
"""The latest migrations over a link that count: enough that one on a busy day does not."""
PER_VM: Final = 5
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


class Experience:
    """Learns from each migration that has ended, and lays what it knows over a snapshot."""

    def __init__(self) -> None:
        self._runs: defaultdict[tuple[str, str], deque[_Run]] = defaultdict(partial(deque, maxlen=PER_LINK))
        self._factors: defaultdict[str, deque[float]] = defaultdict(partial(deque, maxlen=PER_VM))
        """Actual to predicted duration, by VM UUID."""
        self._links: dict[tuple[str, str], Link] = {}
        self._overruns: dict[str, float] = {}

    def learn(self, record: MigrationRecord) -> None:
        """Take in a migration; only one that has completed teaches anything. Oldest first."""
        if record.state is not MigrationState.COMPLETED or record.duration_seconds is None:
            return
        if record.transfer_seconds and record.transferred_bytes:
            way = record.source, record.destination
            overhead_s = max(0.0, record.duration_seconds - record.transfer_seconds)
            self._runs[way].append(_Run(record.transferred_bytes / MIB, record.transfer_seconds, overhead_s))
            self._links[way] = _link(*way, self._runs[way])
        if record.predicted_seconds:
            late_s = record.duration_seconds - record.predicted_seconds
            factor = record.duration_seconds / record.predicted_seconds if late_s > _SHORT_SECONDS else 1.0
            self._factors[record.uuid].append(factor)
            self._judge(record.uuid)

    def on(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with what is known of its links and VMs."""
        hosts = {host.name for host in snapshot.hosts}
        links = tuple(link for way, link in sorted(self._links.items()) if hosts.issuperset(way))
        if not self._overruns:
            return replace(snapshot, links=links)
        vms = tuple(
            replace(vm, migration_overrun_factor=self._overruns[vm.uuid]) if vm.uuid in self._overruns else vm
            for vm in snapshot.vms
        )
        return replace(snapshot, links=links, vms=vms)

    def _judge(self, uuid: str) -> None:
        factors = self._factors[uuid]
        middle = median(factors)
        if len(factors) >= OVERRUNS and middle >= OVERRUN_FACTOR:
            self._overruns[uuid] = round(middle, 2)
        else:
            self._overruns.pop(uuid, None)


def _link(source: str, destination: str, runs: deque[_Run]) -> Link:
    """Bandwidth over all that was sent, so that large migrations count most, 1 MiB/s at least; a middling overhead."""
    sent_mib, seconds = sum(run.sent_mib for run in runs), sum(run.transfer_seconds for run in runs)
    return Link(
        source=source,
        destination=destination,
        bandwidth_mib_per_s=max(1.0, round(sent_mib / seconds, 3)),
        overhead_seconds=round(median(run.overhead_seconds for run in runs), 3),
    )
