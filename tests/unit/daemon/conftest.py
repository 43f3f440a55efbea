"""A whole daemon on a cluster in memory, on a clock that tests move."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TypeVar

import pytest

from scheduler.cluster.observation import DomainFacts, HostFacts
from scheduler.config.loading import parse
from scheduler.daemon.daemon import Daemon
from scheduler.daemon.waiting import end
from scheduler.operations.journal import Journal
from scheduler.operations.records import Decision, MigrationRecord
from scheduler.simulation.clock import ManualClock
from scheduler.simulation.cluster import SimulatedCluster

T = TypeVar("T")

HOSTS = ("node1", "node2", "node3")
AUTO = 'mode = "auto"\n'
AT_ONCE = '[limits]\nwarm_up = "0s"\nmax_moved_per_hour = 1.0\n'
"""Balancing without warm-up and without an hourly budget."""


class House:
    """Hosts node1..node3 of 8 CPUs and 16 GiB (15 GiB for VMs) and, once started, a daemon that watches them."""

    def __init__(self, journal: Journal, path: Path) -> None:
        self.journal = journal
        self.path = path
        self.clock = ManualClock(busy=self._busy)
        self.cluster = SimulatedCluster(self.clock.monotonic, self.clock.sleep)
        for name in HOSTS:
            self.cluster.add_host(name, HostFacts(cpus=8, memory_mib=16384, cpu_features=frozenset({"sse"})))
        self.daemon: Daemon
        self._tasks: list[asyncio.Task[None]] = []

    def vm(
        self, name: str, host: str = "node1", *, cores: float = 0.0, memory_mib: int = 1024, running: bool = True,
        **facts: object,
    ) -> str:  # fmt: skip
        wanted = DomainFacts(vcpus=4, memory_mib=memory_mib, **facts)  # type: ignore[arg-type]
        uuid = self.cluster.add_vm(host, name, wanted, running=running)
        self.cluster.guest(uuid).demand_cores = cores
        return uuid

    def write(self, text: str, hosts: tuple[str, ...] = HOSTS) -> None:
        tables = "".join(f'[[hosts]]\nname = "{name}"\nuri = "qemu+tls://{name}/system"\n' for name in hosts)
        self.path.write_text(text + tables)

    async def start(self, text: str = AUTO + AT_ONCE, hosts: tuple[str, ...] = HOSTS) -> Daemon:
        """The daemon, its cycle not running yet."""
        self.write(text, hosts)
        config = parse(self.path.read_text(), str(self.path))
        self.daemon = Daemon(config, self.path, self.cluster, self.journal, self.clock)
        self._tasks = [asyncio.create_task(self.daemon.follow_events())]
        await self.run(self.daemon.start())
        return self.daemon

    async def go(self, text: str = AUTO + AT_ONCE) -> Daemon:
        """The daemon with its cycle."""
        daemon = await self.start(text)
        self._tasks.append(asyncio.create_task(daemon.cycle.run()))
        await self.clock.settle()
        return daemon

    async def kill(self) -> None:
        """The process is gone; what it was doing on the hosts goes on."""
        await end(*self._tasks)
        self._tasks = []
        if hasattr(self, "daemon"):
            await self.daemon.stop()

    async def run(self, work: Awaitable[T]) -> T:
        return await self.clock.run(work)

    async def cycle(self) -> Decision:
        return await self.run(self.daemon.cycle.once())

    async def migrations(self) -> list[MigrationRecord]:
        """Oldest first."""
        return list(reversed(await self.daemon.service.migrations(limit=100)))

    async def ways(self) -> list[tuple[str, str, str, str]]:
        return [(one.vm, one.source, one.destination, one.trigger.value) for one in await self.migrations()]

    def _busy(self) -> bool:
        thinking = hasattr(self, "daemon") and (self.daemon.planning.busy or self.daemon.worker.busy)
        return self.journal.pending > 0 or thinking


def definition(name: str, *, memory_mib: int = 1024) -> str:
    return (
        f"<domain type='kvm'><name>{name}</name><memory unit='MiB'>{memory_mib}</memory><vcpu>2</vcpu>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"
    )


@pytest.fixture
async def journal() -> AsyncIterator[Journal]:
    journal = await Journal.open(":memory:")
    yield journal
    await journal.close()


@pytest.fixture
async def house(journal: Journal, tmp_path: Path) -> AsyncIterator[House]:
    """Nothing may be left running once the daemon has stopped."""
    house = House(journal, tmp_path / "config.toml")
    before = asyncio.all_tasks()
    yield house
    await house.kill()
    left = {task for task in asyncio.all_tasks() - before if not task.get_name().startswith("simulated-")}
    for task in asyncio.all_tasks() - before - left:
        task.cancel()
    assert left - {asyncio.current_task()} == set()
