"""How long the choice of a host takes in a cluster of 1,000 hosts and 20,000 VMs, as the daemon makes it.

It is the function that a `place` request calls, with what each host's libvirt said of the CPU; the room of each VM is
then reserved, so each choice sees those before it. CPU time is what the choice costs; the rest is waiting for a CPU.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from scheduler.cluster.model import Snapshot, Vm, VmState
from scheduler.cluster.ports import HypervisorCluster
from scheduler.operations.clock import SystemClock
from scheduler.operations.context import Context
from scheduler.operations.definition import NewDefinition
from scheduler.operations.gate import Gate
from scheduler.operations.journal import Journal
from scheduler.operations.placement import Placements
from scheduler.operations.placement_account import Order
from scheduler.operations.records import Trigger
from scheduler.operations.settings import Limits
from scheduler.planner.capacity import capacity
from scheduler.planner.settings import PlannerSettings
from tests.bench.clusters import generated
from tests.bench.table import Table

CHOICES = 1_200


class Picture:
    """A ClusterView of a cluster in which nothing happens but by the gate."""

    def __init__(self, seen: Snapshot, gate: Gate) -> None:
        self._seen, self._gate = seen, gate

    def snapshot(self) -> Snapshot:
        return self._gate.overlay(self._seen)

    async def refresh(self, *hosts: str) -> Snapshot:
        return self.snapshot()

    async def inspect(self, host: str) -> Snapshot:
        return self.snapshot()


async def test_a_choice_is_fast(tmp_path: Path) -> None:
    cluster, clock = generated(1_000, 20_000, seed=1), SystemClock()
    gate = Gate(Limits(), clock)
    journal = await Journal.open(str(tmp_path / "journal.db"))
    context = Context(
        cluster=cast("HypervisorCluster", None), view=Picture(cluster, gate), gate=gate, journal=journal,
        check=lambda *_: (), clock=clock, listener=lambda _: None,
    )  # fmt: skip
    placements = Placements(context, PlannerSettings())
    order = Order(host=None, rehearsal=None, trigger=Trigger.MANUAL, requested_by="", cycle="")
    took: list[tuple[float, float]] = []
    for number in range(CHOICES):
        vm = wanted(cluster, number)
        began = time.perf_counter(), time.thread_time()
        placement = placements.choose(vm, order, NewDefinition(context, vm.uuid, ""))
        took.append((time.perf_counter() - began[0], time.thread_time() - began[1]))
        assert placement.host is not None
        gate.reserve(vm, placement.host)
    await placements.stop()
    await journal.close()
    table = Table(f"One of {CHOICES:,} placements, 1,000 hosts and 20,000 VMs, each after those before: milliseconds")
    table.add("", "first", "median", "p99", "at most")
    for what, seconds in zip(("elapsed", "CPU time"), zip(*took, strict=True), strict=True):
        percentiles = (float(np.percentile(seconds[1:], part)) for part in (50, 99, 100))
        table.add(what, *(f"{1000 * figure:.1f}" for figure in (seconds[0], *percentiles)))
    table.show()


def wanted(cluster: Snapshot, number: int) -> Vm:
    """A new VM of one of the usual sizes, that every host's CPU can run."""
    like = cluster.vms[number * 7 % len(cluster.vms)]
    return replace(
        like,
        name=f"new{number}",
        uuid=f"new{number}",
        host=None,
        state=VmState.STOPPED,
        cpu_demand_cores=None,
        cpu_missing_on={host.name: frozenset() for host in cluster.hosts},
    )


def test_capacity_of_a_large_cluster() -> None:
    cluster = generated(1_000, 20_000, seed=1)
    began = time.perf_counter()
    found = capacity(cluster, wanted(cluster, 0), PlannerSettings())
    table = Table("Capacity, 1,000 hosts and 20,000 VMs, with the loss of each host: seconds")
    table.add(f"{time.perf_counter() - began:.1f}", f"{found.fits} fit")
    table.show()
    assert found.fits > 0
