"""`spread` evens the load out, also that of one empty host among many."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scheduler.cluster.codec import dump_snapshot
from scheduler.cluster.model import Snapshot
from scheduler.cluster.rules import AntiAffinity, Rules
from scheduler.filters.view import View
from scheduler.planner.balance import plan
from scheduler.planner.canonical import canonical
from scheduler.planner.evenness import Evenness
from scheduler.planner.load import Load
from scheduler.planner.objective import Budget
from scheduler.planner.settings import Objective, PlannerSettings
from scheduler.planner.spread import Spread
from tests.unit.clusters import cluster, host, vm

SPREAD = PlannerSettings(objective=Objective.SPREAD)


def test_the_score_is_the_weighted_sum_of_deviations() -> None:
    snapshot = cluster([host("a"), host("b")], [vm("web", "a", cpu_demand_cores=8.0, memory_mib=32768)])
    weights = {"cpu": 1.0, "memory": 2.0, "vcpus": 0.0}
    made = plan(snapshot, PlannerSettings(objective=Objective.SPREAD, weights=weights), clock=lambda: 0.0)
    assert made.score_before == pytest.approx(0.25 + 2 * 0.25)
    assert made.steps == ()


@pytest.mark.parametrize("hosts", [3, 60])
def test_one_empty_host_is_filled_at_every_size(hosts: int) -> None:
    names = [f"host{n:02}" for n in range(hosts)]
    vms = [vm(f"web{name}{n}", name) for name in names[1:] for n in range(10)]
    made = plan(cluster([host(name) for name in names], vms), SPREAD, clock=lambda: 0.0)
    assert made.steps
    assert {step.destination for step in made.steps} == {"host00"}
    assert made.score_after < 0.5 * made.score_before


def test_a_single_move_of_many_is_made_though_it_alone_gains_less_than_the_least() -> None:
    names = [f"host{n:02}" for n in range(20)]
    vms = [vm(f"web{name}{n}", name, memory_mib=2048, cpu_demand_cores=0.5) for name in names[1:] for n in range(20)]
    snapshot = cluster([host(name) for name in names], vms)
    made = plan(snapshot, replace(SPREAD, max_moves=1), clock=lambda: 0.0)
    assert len(made.steps) == 1
    assert made.score_before - made.score_after < SPREAD.minimum_gain_ratio * made.score_before


def test_hosts_of_different_sizes_are_not_filled_above_the_limit() -> None:
    vms = [vm(f"web{n}", "big", cpu_demand_cores=3.0, vcpus=4) for n in range(10)]
    made = plan(cluster([host("big", cpus=32), host("small", cpus=4)], vms), SPREAD, clock=lambda: 0.0)
    assert len(made.steps) == 1


def test_an_even_cluster_stays_as_it_is() -> None:
    vms = [vm(f"web{name}{n}", name) for name in "abc" for n in range(4)]
    assert plan(cluster([host(name) for name in "abc"], vms), SPREAD, clock=lambda: 0.0).steps == ()


def uneven(hosts: int = 5, vms: int = 40) -> Snapshot:
    """Hosts of two sizes, VMs of many, all on the first hosts."""
    machines = [host(f"host{n}", cpus=16 + 16 * (n % 2), memory_mib=131072) for n in range(hosts)]
    guests = [
        vm(f"web{n}", f"host{n % (hosts - 2)}", memory_mib=1024 * (1 + n % 7), cpu_demand_cores=0.1 * (1 + n % 11))
        for n in range(vms)
    ]
    return cluster(machines, guests, Rules(anti_affinity=(AntiAffinity(("web?",), max_per_host=4),)))


@pytest.mark.parametrize("moves", [1, 3, 8])
def test_no_more_moves_than_allowed_and_each_further_one_helps(moves: int) -> None:
    fewer = plan(uneven(), replace(SPREAD, max_moves=moves), clock=lambda: 0.0)
    more = plan(uneven(), replace(SPREAD, max_moves=moves + 2), clock=lambda: 0.0)
    assert len(fewer.steps) <= moves
    assert more.score_after < fewer.score_after < fewer.score_before


def test_no_more_memory_is_moved_than_allowed() -> None:
    made = plan(uneven(), replace(SPREAD, max_gib=9.0), clock=lambda: 0.0)
    moved = sum(uneven().vm(step.uuid).memory_mib for step in made.steps)
    assert 0 < moved <= 9 * 1024


def test_what_a_step_gains_adds_up_to_the_plan() -> None:
    made = plan(uneven(), SPREAD, clock=lambda: 0.0)
    assert sum(step.gain for step in made.steps) == pytest.approx(made.score_before - made.score_after, abs=1e-6)


def test_the_refined_search_never_does_worse_than_the_descent() -> None:
    load = Load(View(canonical(uneven())), SPREAD)
    spread, movable, lasting = Spread(load, SPREAD), load.known.copy(), np.ones(len(load.known))
    descended, refined = load.copy(), load.copy()
    moves = spread._descend(descended, movable, lasting, Budget(6, lambda: False))
    better = spread.search(refined, movable, Budget(6, lambda: False))
    assert len(better) <= len(moves)
    assert Evenness(refined).score() <= Evenness(descended).score() + 1e-9


WITHOUT_KERNEL = """
import sys
sys.modules["scheduler.planner.kernel"] = None
from scheduler.cli.main import main
main(["plan", "--snapshot", sys.argv[1], "--objective", "spread", "--json"])
"""


def test_without_the_compiled_kernel_the_plan_is_that_of_the_descent(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    path.write_text(dump_snapshot(uneven()))
    done = subprocess.run([sys.executable, "-c", WITHOUT_KERNEL, path], capture_output=True, text=True, check=True)
    plain, refined = json.loads(done.stdout), plan(uneven(), SPREAD, clock=lambda: 0.0)
    assert plain["steps"]
    assert refined.score_after <= plain["score_after"] < plain["score_before"]
