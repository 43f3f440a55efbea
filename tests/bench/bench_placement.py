"""How long the choice of a host takes in a cluster of 1,000 hosts and 20,000 VMs, in a daemon.

A whole daemon watches simulated hosts, each looked at every 10 s, with the demand of 90 looks before. What is measured
is a `place` request from its XML to the moment at which libvirt is asked to define the VM: reading, the CPU questions,
the choice, a fresh look at the chosen host and the first line in the journal. VMs are defined and started, so each
choice sees those before it. CPU time is that of the daemon's loop meanwhile, its looks at other hosts included.
"""

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from scheduler.cluster.demand import Rate
from scheduler.cluster.model import Snapshot, Vm, VmState
from scheduler.cluster.observation import DomainFacts, HostFacts
from scheduler.config.loading import parse
from scheduler.config.models import Config
from scheduler.daemon import pauses
from scheduler.daemon.daemon import Daemon
from scheduler.operations.clock import SystemClock
from scheduler.operations.journal import Journal
from scheduler.operations.records import PlacementOutcome
from scheduler.planner.capacity import capacity
from scheduler.planner.settings import PlannerSettings
from scheduler.simulation.cluster import SimulatedCluster
from tests.bench.clusters import generated
from tests.bench.table import Table

REQUESTS = 600


class Watched(SimulatedCluster):
    """A cluster that notes when it is first asked to do something."""

    decided_at = (0.0, 0.0)

    async def define(self, host: str, xml: str) -> str:
        self.decided_at = time.perf_counter(), time.thread_time()
        return await super().define(host, xml)

    def count(self) -> None:
        """Counters are brought up to date by looks: with each start all would be, which takes long here."""


async def test_a_placement_is_fast(tmp_path: Path) -> None:
    asyncio.get_running_loop().set_debug(False)  # as it is in a daemon
    seen, clock = generated(1_000, 20_000, seed=1), SystemClock()
    cluster = simulated(seen, clock)
    journal = await Journal.open(str(tmp_path / "journal.db"))
    daemon = Daemon(configured(seen, tmp_path), tmp_path / "config.toml", cluster, journal, clock)
    beside = asyncio.gather(daemon.follow_events(), pauses.keep_short(clock))
    await daemon.start()
    remember(daemon, seen, clock)
    took = [await one(daemon, cluster, number) for number in range(REQUESTS)]
    beside.cancel()
    with suppress(asyncio.CancelledError):
        await beside
    await daemon.stop()
    await journal.close()
    table = Table(f"One of {REQUESTS} `place` requests, 1,000 hosts and 20,000 VMs, until defined: milliseconds")
    table.add("", "first", "median", "p99", "at most")
    for what, seconds in zip(("elapsed", "CPU time"), zip(*took, strict=True), strict=True):
        percentiles = (float(np.percentile(seconds[1:], part)) for part in (50, 99, 100))
        table.add(what, *(f"{1000 * figure:.1f}" for figure in (seconds[0], *percentiles)))
    table.show()


async def one(daemon: Daemon, cluster: Watched, number: int) -> tuple[float, float]:
    """Place a VM; the seconds until it was defined, and those of CPU time."""
    began = time.perf_counter(), time.thread_time()
    [record] = await daemon.service.place([definition(number)], host=None, dry_run=False, requested_by="bench")
    assert record.outcome is PlacementOutcome.STARTED, record.reason
    return cluster.decided_at[0] - began[0], cluster.decided_at[1] - began[1]


def definition(number: int) -> str:
    """One of a few sizes, with a CPU that every host has."""
    gib = (2, 4, 8, 16)[number % 4]
    return (
        f"<domain type='kvm'><name>new{number}</name><memory unit='GiB'>{gib}</memory><vcpu>{gib // 2}</vcpu>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
        "<cpu mode='custom' match='exact'><model>qemu64</model></cpu></domain>"
    )


def simulated(seen: Snapshot, clock: SystemClock) -> Watched:
    """The same cluster, as hosts to be looked at."""
    cluster = Watched(clock.monotonic, clock.sleep)
    for host in seen.hosts:
        features = frozenset({"sse2", "cx16"})
        cluster.add_host(host.name, HostFacts(cpus=host.cpus, memory_mib=host.memory_mib, cpu_features=features))
    for vm in seen.vms:
        facts = DomainFacts(vcpus=vm.vcpus, memory_mib=vm.memory_mib)
        cluster.add_vm(vm.host or "", vm.name, facts, uuid=vm.uuid)
        cluster.guest(vm.uuid).demand_cores = vm.cpu_demand_cores or 0.0
    return cluster


def configured(seen: Snapshot, where: Path) -> Config:
    """A daemon that only observes and is asked for placements."""
    hosts = "".join(f'[[hosts]]\nname = "{host.name}"\nuri = "qemu+tls://{host.name}/system"\n' for host in seen.hosts)
    return parse('mode = "observe"\n' + hosts, str(where / "config.toml"))


def remember(daemon: Daemon, seen: Snapshot, clock: SystemClock) -> None:
    """Demand as after a quarter of an hour of looks."""
    now_s = clock.monotonic()
    for vm in seen.vms:
        rates = (
            Rate(now_s - 10.0 * (90 - look), 10.0, vm.host or "", vm.cpu_demand_cores or 0.0, 0.0) for look in range(90)
        )
        daemon._observer._demand._vms[vm.uuid].rates = deque(rates)


def test_capacity_of_a_large_cluster() -> None:
    cluster = generated(1_000, 20_000, seed=1)
    began = time.perf_counter()
    found = capacity(cluster, wanted(cluster), PlannerSettings())
    table = Table("Capacity, 1,000 hosts and 20,000 VMs, with the loss of each host: seconds")
    table.add(f"{time.perf_counter() - began:.1f}", f"{found.fits} fit")
    table.show()
    assert found.fits > 0


def wanted(cluster: Snapshot) -> Vm:
    """A new VM of one of the usual sizes, that every host's CPU can run."""
    return replace(
        cluster.vms[0], name="new", uuid="new", host=None, state=VmState.STOPPED, cpu_demand_cores=None,
        cpu_missing_on={host.name: frozenset() for host in cluster.hosts},
    )  # fmt: skip
