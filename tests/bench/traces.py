"""Load over hours for replays, each hard for some policy: made up from a seed, on eight hosts of 16 cores and 64 VMs.

A VM has 4 vCPUs and 4 GiB of 64 GiB a host, so that memory is never in the way. And a recorded day.
"""

import csv
import gzip
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from math import pi, sin
from pathlib import Path
from random import Random
from typing import Final

from scheduler.cluster.model import Host, Snapshot, Vm
from scheduler.simulation.load import LoadTable, table_of

HOSTS: Final = 8
VMS: Final = 64
HOURS: Final = 6
STEP_S: Final = 60
TAKEN_AT: Final = datetime(2026, 11, 24, tzinfo=UTC)
Demand = Callable[[int, float], float]
"""Cores that a VM wants at a time."""


def spread_out() -> Snapshot:
    """Eight VMs on each host."""
    hosts = tuple(Host(name=f"host{n}", cpus=16, memory_mib=65536, reserved_memory_mib=2048) for n in range(HOSTS))
    vms = tuple(
        Vm(
            name=f"vm{n:02}",
            uuid=f"vm{n:02}",
            vcpus=4,
            memory_mib=4096,
            host=hosts[n % HOSTS].name,
            cpu_demand_cores=1.0,
            dirty_mib_per_s=5.0,
        )
        for n in range(VMS)
    )
    return Snapshot(taken_at=TAKEN_AT, hosts=hosts, vms=vms)


def piled_up() -> Snapshot:
    """A failed host has come back: its VMs run on the two beside it."""
    begin = spread_out()
    beside = {"host0": ("host1", "host2")}
    vms = (
        replace(vm, host=beside[str(vm.host)][n % 16 // 8]) if vm.host in beside else vm
        for n, vm in enumerate(begin.vms)
    )
    return replace(begin, vms=tuple(vms))


def diurnal(random: Random) -> Demand:
    """A day in six hours; VMs of one host have their peak together, at another time than those of the next."""
    means = [random.uniform(0.5, 1.9) for _ in range(VMS)]
    peaks = [n % HOSTS / HOSTS + random.uniform(-0.1, 0.1) for n in range(VMS)]
    return lambda vm, at_s: means[vm] * (1 + 0.9 * sin(2 * pi * (at_s / 3600 / HOURS - peaks[vm])))


def steps(random: Random) -> Demand:
    """Each VM changes at chance times, one to three in all, and stays there for long."""
    changes = [sorted(random.uniform(0, HOURS * 3600) for _ in range(random.randint(1, 3))) for _ in range(VMS)]
    levels = [[random.choice((0.3, 0.6, 1.0, 2.0, 3.6)) for _ in range(4)] for _ in range(VMS)]
    return lambda vm, at_s: levels[vm][sum(change <= at_s for change in changes[vm])]


def bursts(random: Random) -> Demand:
    """Quiet, and four minutes of all vCPUs once or twice an hour."""
    starts = [
        [hour * 3600 + random.uniform(0, 3300) for hour in range(HOURS) for _ in range(random.randint(1, 2))]
        for _ in range(VMS)
    ]
    return lambda vm, at_s: 4.0 if any(start <= at_s < start + 240 for start in starts[vm]) else 1.1


def sawtooth(random: Random) -> Demand:
    """Every eight minutes the VMs that began on another host are the busy ones."""
    bias = [random.uniform(0.8, 1.2) for _ in range(VMS)]
    return lambda vm, at_s: bias[vm] * (2.4 if int(at_s // 480) % HOSTS == vm % HOSTS else 0.9)


def returned(random: Random) -> Demand:
    """Constant with some noise; the two hosts that took over want 20 to 30 % more than they have."""
    means = [random.uniform(1.1, 1.8) for _ in range(VMS)]
    noise = Random(random.random())
    return lambda vm, _: means[vm] * noise.uniform(0.9, 1.1)


TRACES: Final[dict[str, tuple[Callable[[], Snapshot], Callable[[Random], Demand]]]] = {
    "diurnal": (spread_out, diurnal),
    "steps": (spread_out, steps),
    "bursts": (spread_out, bursts),
    "sawtooth": (spread_out, sawtooth),
    "host returns": (piled_up, returned),
}


def bitbrains() -> tuple[Snapshot, LoadTable]:
    """50 recorded VMs over the first six hours of a day, dealt out by size to four hosts of 16 cores and 256 GiB."""
    with gzip.open(Path(__file__).parent / "data" / "bitbrains_day.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    hosts = tuple(Host(name=f"host{n}", cpus=16, memory_mib=262144, reserved_memory_mib=4096) for n in range(4))
    sizes = {row["vm"]: (int(row["vcpus"]), int(row["memory_mib"])) for row in rows}
    by_size = sorted(sizes, key=lambda name: sizes[name], reverse=True)
    vms = tuple(
        Vm(name=name, uuid=name, vcpus=sizes[name][0], memory_mib=sizes[name][1], host=hosts[n % 4].name)
        for n, name in enumerate(by_size)
    )
    wanted = (
        (float(row["time_s"]), (row["vm"], float(row["cpu_demand_cores"]), None, None))
        for row in rows
        if float(row["time_s"]) < HOURS * 3600
    )
    return Snapshot(taken_at=TAKEN_AT, hosts=hosts, vms=vms), table_of(wanted)


NAMES: Final = (*TRACES, "bitbrains")


def trace(name: str, *, seed: int = 1) -> tuple[Snapshot, LoadTable]:
    """A cluster and what its VMs want."""
    if name == "bitbrains":
        return bitbrains()
    begin, shape = TRACES[name]
    demand = shape(Random(f"{name} {seed}"))

    def rows() -> Iterator[tuple[float, tuple[str, float, None, None]]]:
        for at_s in range(0, HOURS * 3600, STEP_S):
            for vm in range(VMS):
                yield float(at_s), (f"vm{vm:02}", round(demand(vm, at_s), 3), None, None)

    return begin(), table_of(rows())
