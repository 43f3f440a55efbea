"""A small cluster in memory with everything that acts on it, on a clock that tests move."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import pytest_asyncio

from scheduler.cluster.assemble import HostInput, Windows, assemble
from scheduler.cluster.demand import DemandBook
from scheduler.cluster.model import HostState, Snapshot
from scheduler.cluster.observation import DomainFacts, Event, HostFacts, HostObservation
from scheduler.cluster.ports import HypervisorError
from scheduler.cluster.reason import Reason
from scheduler.cluster.rules import Rules
from scheduler.operations.context import Context
from scheduler.operations.drain import Drains
from scheduler.operations.gate import Gate
from scheduler.operations.journal import Journal
from scheduler.operations.migration import MigrationRequest, Migrations
from scheduler.operations.placement import Placements
from scheduler.operations.records import MigrationRecord, PlacementRecord, Trigger
from scheduler.operations.settings import Limits, MigrationSettings
from scheduler.operations.worker import Worker
from scheduler.planner.balance import plan
from scheduler.planner.placement import check_move
from scheduler.planner.plan import Planned
from scheduler.planner.settings import PlannerSettings
from scheduler.simulation.clock import ManualClock
from scheduler.simulation.cluster import SimulatedCluster


class Picture:
    """A ClusterView that looks when asked, and the gate's overlay on what it saw."""

    def __init__(self, cluster: SimulatedCluster, gate: Gate, clock: ManualClock) -> None:
        self.rules = Rules()
        self.cordoned: Callable[[], Collection[str]] = tuple
        self._cluster, self._gate, self._clock = cluster, gate, clock
        self._looks: dict[str, HostObservation | None] = dict.fromkeys(("node1", "node2", "node3"))
        self._lost: set[str] = set()

    def snapshot(self) -> Snapshot:
        return self._of(self._looks)

    async def inspect(self, host: str) -> Snapshot:
        await self.refresh(host)
        return self._of([host])

    def up(self) -> list[str]:
        return [host.name for host in self.snapshot().hosts if host.state is HostState.UP]

    def cpu_answers(self, facts: DomainFacts) -> dict[str, frozenset[str] | None]:
        return {}

    async def ask_cpu(self, host: str, facts: DomainFacts) -> frozenset[str] | None:
        return (await self._cluster.compare_cpu(host, facts)).lacks

    def _of(self, names: Iterable[str]) -> Snapshot:
        hosts = [
            HostInput(
                name=name,
                reachable=self._looks[name] is not None and name not in self._lost,
                observation=self._looks[name],
                cordoned=name in self.cordoned(),
            )
            for name in names
        ]
        windows = Windows(now_s=self._clock.monotonic(), stale_after_s=1e9)
        taken_at = datetime.fromtimestamp(self._clock.wall(), UTC)
        seen = assemble(taken_at, hosts, DemandBook(), windows, self.rules, lambda _: {})
        return self._gate.overlay(seen)

    async def refresh(self, *hosts: str) -> Snapshot:
        for host in hosts:
            try:
                self._looks[host] = await self._cluster.observe(host)
                self._lost.discard(host)
            except HypervisorError:
                self._lost.add(host)
        return self.snapshot()


@dataclass
class World:
    """Hosts node1..node3 of 16 GiB, and the room `operations` on top of them."""

    clock: ManualClock
    cluster: SimulatedCluster
    journal: Journal
    gate: Gate
    view: Picture
    context: Context
    migrations: Migrations
    placements: Placements
    drains: Drains
    told: list[MigrationRecord | PlacementRecord] = field(default_factory=list)

    def vm(
        self, name: str, host: str = "node1", *, memory_mib: int = 1024, running: bool = True, **facts: object
    ) -> str:
        wanted = DomainFacts(vcpus=2, memory_mib=memory_mib, **facts)  # type: ignore[arg-type]
        return self.cluster.add_vm(host, name, wanted, running=running)

    async def look(self) -> Snapshot:
        return await self.view.refresh("node1", "node2", "node3")

    async def ask(
        self, uuid: str, destination: str, *, source: str = "node1", trigger: Trigger = Trigger.MANUAL
    ) -> MigrationRecord:
        request = MigrationRequest(
            vm="vm", uuid=uuid, source=source, destination=destination, trigger=trigger, reason=Reason("asked", "asked")
        )
        return await self.clock.run(self.migrations.request(request))

    async def migrate(self, uuid: str, destination: str, **kwargs: object) -> MigrationRecord:
        asked = await self.ask(uuid, destination, **kwargs)  # type: ignore[arg-type]
        return await self.clock.run(self.migrations.wait(asked.id))

    def restarted(self) -> "World":
        """The next process: nothing is left of this one but the journal and the hosts."""
        gate = Gate(self.gate.limits, self.clock)
        view = Picture(self.cluster, gate, self.clock)
        self.context.worker.close()
        world = _world(self.clock, self.cluster, self.journal, gate, view)
        self.clock.busy = world.busy
        return world

    def busy(self) -> bool:
        return self.journal.pending > 0 or self.context.worker.busy


def _world(clock: ManualClock, cluster: SimulatedCluster, journal: Journal, gate: Gate, view: Picture) -> World:
    told: list[MigrationRecord | PlacementRecord] = []
    context = Context(
        cluster=cluster,
        view=view,
        gate=gate,
        journal=journal,
        check=partial(check_move, settings=None),
        clock=clock,
        worker=Worker("test"),
        listener=told.append,
    )
    migrations = Migrations(context, MigrationSettings())
    placements = Placements(context, PlannerSettings())

    async def evacuate(hosts: Collection[str]) -> Planned:
        snapshot = view.snapshot()
        return Planned(plan(snapshot, PlannerSettings(), clock=lambda: 0.0, drain=hosts), snapshot)

    drains = Drains(context, migrations, evacuate)
    view.cordoned = drains.cordoned
    return World(clock, cluster, journal, gate, view, context, migrations, placements, drains, told)


async def _tell(world: World, events: AsyncIterator[Event]) -> None:
    async for event in events:
        world.migrations.on_event(event)


@pytest_asyncio.fixture
async def journal() -> AsyncIterator[Journal]:
    journal = await Journal.open(":memory:")
    yield journal
    await journal.close()


@pytest_asyncio.fixture
async def world(journal: Journal) -> AsyncIterator[World]:
    clock = ManualClock()
    cluster = SimulatedCluster(clock.monotonic, clock.sleep)
    for number in (1, 2, 3):
        cluster.add_host(f"node{number}", HostFacts(cpus=8, memory_mib=16384))
    gate = Gate(Limits(), clock)
    world = _world(clock, cluster, journal, gate, Picture(cluster, gate, clock))
    clock.busy = world.busy
    await world.look()
    telling = asyncio.create_task(_tell(world, cluster.events()))
    yield world
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    await world.drains.stop()
    await world.migrations.stop()
    world.context.worker.close()
    await cluster.close()
