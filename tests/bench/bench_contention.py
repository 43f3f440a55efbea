"""`contention` beside the exact optimum with as many moves (HiGHS), on clusters of 10 hosts of which some are hot."""

import time
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from scheduler.cluster.model import Host, Snapshot, Vm
from scheduler.filters.view import View
from scheduler.planner.balance import plan
from scheduler.planner.load import Load
from scheduler.planner.plan import apply_plan
from scheduler.planner.settings import PlannerSettings
from tests.bench.clusters import FLAVOURS, FREQUENCY, TAKEN_AT
from tests.bench.table import Table

exact = pytest.importorskip("tests.bench.exact", exc_type=ImportError, reason="pip install highspy")
pytestmark = pytest.mark.timeout(1200)

SETTINGS = PlannerSettings()
SEEDS = range(1, 7)
MOVES = (3, 8, 20)
SOLVER_SECONDS = 12.0


def test_beside_the_exact_optimum() -> None:
    table = Table(
        "contention beside HiGHS: cores short; gap to what HiGHS has proven, in parts of the shortage at the start"
    )
    table.add("cluster", "VMs", "K", "start", "ours", "moves", "s", "found", "proven", "gap")
    gaps = []
    for tight in (False, True):
        for seed in SEEDS:
            snapshot = hot(seed, tight=tight)
            load = Load(View(snapshot), SETTINGS)
            start = _short(load, snapshot)
            for moves in MOVES:
                made = plan(snapshot, replace(SETTINGS, max_moves=moves), clock=time.perf_counter)
                ours = _short(load, apply_plan(snapshot, made))
                best = exact.optimum(snapshot, SETTINGS, moves, SOLVER_SECONDS)
                gaps.append((ours - best.bound) / start)
                table.add(
                    f"{'tight' if tight else 'roomy'} {seed}", len(snapshot.vms), moves, f"{start:.2f}", f"{ours:.2f}",
                    len(made.steps), f"{made.planning_seconds:.2f}", f"{best.best:.2f}", f"{best.bound:.2f}",
                    f"{gaps[-1]:+.1%}",
                )  # fmt: skip
    table.add(*[""] * 8, "mean", f"{np.mean(gaps):+.1%}")
    table.add(*[""] * 8, "worst", f"{max(gaps):+.1%}")
    table.show()
    assert np.mean(gaps) <= 0.02


def hot(seed: int, *, tight: bool) -> Snapshot:
    """Ten hosts, two to five of them with more demand than CPUs; the others of a tight cluster are nearly full."""
    random = Random(f"hot {seed} {tight} False")
    sizes = [random.choice((16, 32, 48)) if seed % 2 else 32 for _ in range(10)]
    hosts = [Host(name=f"host{n}", cpus=cpus, memory_mib=cpus * 6 * 1024) for n, cpus in enumerate(sizes)]
    overloaded = set(random.sample(range(10), random.randint(2, 5)))
    vms: list[Vm] = []
    for number, host in enumerate(hosts):
        calm = random.uniform(0.72, 0.84) if tight else random.uniform(0.3, 0.8)
        level = random.uniform(1.0, 1.5) if number in overloaded else calm
        vms += _vms(random, host, level, random.uniform(0.8, 0.95) if tight else random.uniform(0.5, 0.9), len(vms))
    return Snapshot(taken_at=TAKEN_AT, hosts=tuple(hosts), vms=tuple(vms))


def _vms(random: Random, host: Host, level: float, filled: float, first: int) -> list[Vm]:
    """VMs that fill that part of the host's memory and together demand `level` of its CPUs, as far as they can."""
    sizes: list[tuple[int, int, float]] = []
    while True:
        vcpus, gib = random.choices(FLAVOURS[:9], FREQUENCY[:9])[0]
        if sum(size for _, size, _ in sizes) + gib > filled * host.memory_mib / 1024:
            break
        sizes.append((vcpus, gib, random.betavariate(1.1, 2.0) * vcpus))
    scale = level * host.cpus / sum(demand for *_, demand in sizes)
    return [
        Vm(
            name=f"vm{number:04}", uuid=f"vm{number:04}", vcpus=vcpus, memory_mib=gib * 1024, host=host.name,
            cpu_demand_cores=round(min(float(vcpus), demand * scale), 3),
        )
        for number, (vcpus, gib, demand) in enumerate(sizes, start=first)
    ]  # fmt: skip


def _short(load: Load, snapshot: Snapshot) -> float:
    after = Load(View(snapshot), SETTINGS)
    return float(np.maximum(0, after.host_demand - load.given).sum() + 10 * after.memory_short_gib().sum())
