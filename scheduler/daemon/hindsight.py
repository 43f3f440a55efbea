"""Compares the CPU use of both hosts after a migration with what the planner expected it to be."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from ..cluster.model import Snapshot
from ..operations.clock import Clock
from ..operations.records import MigrationRecord, MigrationState
from ..planner.plan import apply_plan
from .waiting import end

log = structlog.get_logger(__name__)

SETTLED_S: Final = 120.0
"""How long after a migration hosts are measured: a recent mean then holds nothing of the migration itself."""


class Hindsight:
    """Follows migrations. A host on which another one began or ended meanwhile tells nothing, and is left out."""

    def __init__(self, seen: Callable[[], Snapshot], compared: Callable[[float], None], clock: Clock) -> None:
        """`seen` is the cluster as last seen; `compared` is told the difference as part of the host's CPUs."""
        self._seen = seen
        self._compared = compared
        self._clock = clock
        self._changes: Counter[str] = Counter()
        """Migrations that began or ended, by host."""
        self._expected: dict[int, dict[str, tuple[float, int]]] = {}
        """By migration and host: cores, and the host's changes when they were expected."""
        self._waiting: set[asyncio.Task[None]] = set()

    def note(self, record: MigrationRecord) -> None:
        """A migration has a new state, or has come further."""
        if record.state is MigrationState.MIGRATING and record.id not in self._expected:
            self._changes.update((record.source, record.destination))
            self._expected[record.id] = self._expect(record)
        elif record.state.final and record.id in self._expected:
            expected = self._expected.pop(record.id)
            self._changes.update((record.source, record.destination))
            if record.state is MigrationState.COMPLETED:
                task = asyncio.create_task(self._compare(expected), name=f"hindsight-{record.id}")
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)

    async def close(self) -> None:
        """Wait for nothing any more."""
        await end(*self._waiting)

    def _expect(self, record: MigrationRecord) -> dict[str, tuple[float, int]]:
        seen = self._seen()
        names = {host.name for host in seen.hosts}
        if not {record.source, record.destination} <= names or all(vm.uuid != record.uuid for vm in seen.vms):
            return {}
        after = apply_plan(seen, [record])
        return {
            host.name: (host.cpu_used_cores, self._changes[host.name])
            for host in after.hosts
            if host.name in {record.source, record.destination} and host.cpu_used_cores is not None
        }

    async def _compare(self, expected: dict[str, tuple[float, int]]) -> None:
        await self._clock.sleep(SETTLED_S)
        for host in self._seen().hosts:
            if host.name not in expected or host.cpu_used_cores is None or host.stale:
                continue
            cores, changes = expected[host.name]
            # The end of the migration itself is one change.
            if self._changes[host.name] != changes + 1:
                continue
            log.info(
                "load after a migration",
                host=host.name,
                expected_cores=round(cores, 2),
                measured_cores=round(host.cpu_used_cores, 2),
            )
            self._compared(abs(host.cpu_used_cores - cores) / max(1, host.cpus))
