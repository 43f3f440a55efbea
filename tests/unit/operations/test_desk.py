"""Kept arrays choose what new ones would choose, and what they have missed starts nothing."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from scheduler.cluster.model import Snapshot, Vm, VmState
from scheduler.cluster.observation import DomainFacts
from scheduler.filters import registry
from scheduler.operations.desk import FORGOTTEN_AFTER_S, RENEWED_AFTER_S, Desk
from scheduler.operations.gate import Gate
from scheduler.operations.placement import Placements
from scheduler.operations.records import PlacementOutcome, Trigger
from scheduler.operations.settings import Limits
from scheduler.operations.worker import Worker
from scheduler.planner.placement import Placement, Placer
from scheduler.planner.settings import PlannerSettings
from scheduler.simulation.clock import ManualClock
from tests.bench.clusters import generated
from tests.unit.operations.test_placement import place, xml

SETTINGS = PlannerSettings()


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker("test")
    yield worker
    worker.close()


class Seen:
    """A ClusterView of a cluster in which nothing happens but by the gate."""

    def __init__(self, snapshot: Snapshot, gate: Gate) -> None:
        self.seen, self._gate = snapshot, gate

    def snapshot(self) -> Snapshot:
        return self._gate.overlay(self.seen)

    async def refresh(self, *hosts: str) -> Snapshot:
        return self.snapshot()

    async def inspect(self, host: str) -> Snapshot:
        return self.snapshot()

    def up(self) -> list[str]:
        return [host.name for host in self.seen.hosts]

    def cpu_answers(self, facts: DomainFacts) -> dict[str, frozenset[str] | None]:
        return {}

    async def ask_cpu(self, host: str, facts: DomainFacts) -> frozenset[str] | None:
        return None


def told(placement: Placement) -> tuple[object, ...]:
    scores = {ranked.host: pytest.approx(ranked.score, abs=1e-6) for ranked in placement.ranking}
    best = placement.ranking[0].score if placement.ranking else 0.0
    return scores, pytest.approx(best, abs=1e-6), placement.refused, placement.takers, placement.refusers


@pytest.mark.parametrize("seed", range(8))
async def test_kept_arrays_choose_as_new_ones_do(seed: int, worker: Worker) -> None:
    random, clock = Random(seed), ManualClock()
    gate = Gate(Limits(), clock)
    # Which hosts are contended is judged in a snapshot and not while following: none is here.
    crowd = generated(8, 100, seed=seed, mixed=True)
    idle = tuple(replace(vm, cpu_demand_cores=0.4 * (vm.cpu_demand_cores or 0.0)) for vm in crowd.vms)
    view = Seen(replace(crowd, vms=idle), gate)
    desk = Desk(view, gate, clock, worker, kept_above=0)
    await desk.placer(SETTINGS)
    moving = iter(view.seen.vms)
    for number in range(20):
        size = random.choice((2, 4, 16, 48)) * 1024
        vm = Vm(name=f"new{number}", uuid=f"new{number}", vcpus=2, memory_mib=size, state=VmState.STOPPED)
        kept, new = (await desk.placer(SETTINGS)).choose(vm), Placer(view.snapshot(), SETTINGS).choose(vm)
        assert told(kept) == told(new)
        if kept.host is not None:
            gate.reserve(vm, kept.host)
        if number % 3 == 0:
            load, leaver = (await desk.placer(SETTINGS)).load, next(moving)
            place = load.view.vm_index(leaver.uuid)
            roomy = registry.elsewhere(load.view, load.view.need(place)) & (load.high_with(place) <= load.room)
            if roomy.any():
                destination = load.view.hosts[int(np.argmax(roomy))].name
                gate.book(leaver.uuid, leaver.host or "", destination, Trigger.BALANCE)


async def test_only_the_arrays_of_a_large_cluster_are_kept_and_not_for_long(worker: Worker) -> None:
    clock = ManualClock()
    gate = Gate(Limits(), clock)
    view = Seen(generated(4, 60, seed=1), gate)
    small = Desk(view, gate, clock, worker, kept_above=60)
    assert await small.placer(SETTINGS) is not await small.placer(SETTINGS)
    assert not small.kept
    large = Desk(view, gate, clock, worker, kept_above=59)
    first = await large.placer(SETTINGS)
    assert await large.placer(SETTINGS) is first
    assert await large.placer(PlannerSettings(hold_seconds=1.0)) is not first
    second = await large.placer(SETTINGS)
    await clock.advance(RENEWED_AFTER_S + 1)
    assert await large.placer(SETTINGS) is second
    await large.stop()
    await clock.advance(FORGOTTEN_AFTER_S)
    assert await large.placer(SETTINGS) is not second


async def test_what_kept_arrays_have_missed_starts_nothing(world) -> None:
    world.vm("a", "node1")
    world.vm("b", "node2", memory_mib=2048)
    world.vm("c", "node3", memory_mib=2048)
    await world.look()
    desk = Desk(world.view, world.gate, world.clock, world.context.worker, kept_above=0)
    placements = Placements(world.context, world.placements.settings, desk)
    await desk.placer(placements.settings)
    world.vm("unseen", "node1", memory_mib=15000)
    world.placements = placements
    record = await place(world, xml(memory_mib=4096))
    assert (record.outcome, record.host) == (PlacementOutcome.STARTED, "node2")
    # It was node1 that was chosen first; the look before the start showed what nobody had seen there.
    assert [attempt.host for attempt in record.attempts] == ["node2"]
    assert [refusal["host"] for refusal in record.refused] == ["node1"]


async def test_kept_arrays_know_what_was_started_also_when_its_room_is_not_reserved_any_more(world) -> None:
    world.vm("a", "node1")
    await world.look()
    desk = Desk(world.view, world.gate, world.clock, world.context.worker, kept_above=0)
    world.placements = Placements(world.context, world.placements.settings, desk)
    await desk.placer(world.placements.settings)
    first = await place(world, xml("first", memory_mib=4096))
    assert world.gate.reserved() == []
    second = await place(world, xml("second", memory_mib=4096))
    assert {first.host, second.host} == {"node2", "node3"}


async def test_renewed_arrays_have_what_was_started_while_they_were_made(worker: Worker) -> None:
    clock = ManualClock()
    gate = Gate(Limits(), clock)
    view = Seen(generated(4, 60, seed=1), gate)
    desk = Desk(view, gate, clock, worker, kept_above=0)
    old = await desk.placer(SETTINGS)
    renewal = await begun_renewal(desk, clock)
    start(gate, desk, "new")
    await renewal
    renewed = await desk.placer(SETTINGS)
    assert renewed is not old
    assert free_mib(renewed) == free_mib(old)


async def test_arrays_begun_before_they_were_found_wrong_are_not_used(worker: Worker) -> None:
    clock = ManualClock()
    gate = Gate(Limits(), clock)
    view = Seen(generated(4, 60, seed=1), gate)
    desk = Desk(view, gate, clock, worker, kept_above=0)
    await desk.placer(SETTINGS)
    await begun_renewal(desk, clock)
    view.seen = replace(view.seen, vms=view.seen.vms[1:])
    desk.forget()
    newest = await desk.placer(SETTINGS)
    assert free_mib(newest) == free_mib(Placer(view.snapshot(), SETTINGS))


async def begun_renewal(desk: Desk, clock: ManualClock) -> asyncio.Task[None]:
    """The task that makes new arrays, which has its snapshot already."""
    await clock.advance(RENEWED_AFTER_S + 1)
    await desk.placer(SETTINGS)
    [renewal] = [task for task in asyncio.all_tasks() if task.get_name() == "renew-desk"]
    await asyncio.sleep(0)
    return renewal


def start(gate: Gate, desk: Desk, name: str) -> None:
    """A VM of 2 GiB starts on the first host, and was seen there."""
    vm = Vm(name=name, uuid=name, vcpus=2, memory_mib=2048, state=VmState.STOPPED)
    gate.reserve(vm, "host0000")
    desk.follow()
    gate.release(vm.uuid)


def free_mib(placer: Placer) -> dict[str, int]:
    view = placer.load.view
    return {host.name: free for host, free in zip(view.hosts, view.free_memory_mib.tolist(), strict=True)}
