"""`spread` beside hbal: the score with as many moves, the moves to the same score, the time, and hosts overdriven."""

import json
from pathlib import Path

import numpy as np
import pytest

from scheduler.cluster.codec import dump_snapshot
from scheduler.cluster.model import Snapshot
from scheduler.filters.view import View
from scheduler.planner.balance import plan
from scheduler.planner.evenness import Evenness
from scheduler.planner.load import Load
from scheduler.planner.plan import apply_plan
from scheduler.planner.settings import Objective, PlannerSettings
from tests.bench import hbal
from tests.bench.clusters import generated
from tests.bench.table import Table, timed

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not hbal.INSTALLED, reason="apt-get install --no-install-recommends ganeti-htools"),
]

CLUSTERS = [
    (10, 150, 1, False),
    (10, 150, 2, False),
    (10, 150, 3, False),
    (10, 150, 1, True),
    (30, 450, 1, False),
    (30, 450, 1, True),
]
SETTINGS = PlannerSettings(
    objective=Objective.SPREAD, weights={"cpu": 1.0, "memory": 1.0, "vcpus": 1.0}, time_limit_seconds=5.0
)


def test_beside_hbal(tmp_path: Path) -> None:
    table = Table(
        "spread beside hbal, weights 1, 1, 1: score with as many moves, moves to hbal's score, whole commands"
    )
    table.add(
        "hosts",
        "VMs",
        "kind",
        "start",
        "hbal",
        "moves",
        "fullest CPU",
        "s",
        "ours",
        "",
        "moves to hbal's",
        "",
        "CPU s",
        "faster",
    )
    better = []
    for hosts, vms, seed, mixed in CLUSTERS:
        snapshot = generated(hosts, vms, seed=seed, mixed=mixed)
        theirs = hbal.balance(snapshot, tmp_path)
        path = tmp_path / "snapshot.json"
        path.write_text(dump_snapshot(snapshot), encoding="utf-8")
        ran = timed(
            "plan",
            "--snapshot",
            path,
            "--objective",
            "spread",
            "--weights",
            "cpu=1,memory=1,vcpus=1",
            "--max-moves",
            str(theirs.moves),
            "--json",
        )
        ours, target = json.loads(ran.output)["score_after"], _score(theirs.after)
        fewest = _fewest_moves(snapshot, target, theirs.moves)
        better.append(1 - ours / target)
        table.add(
            hosts, vms, "mixed" if mixed else "equal", f"{_score(snapshot):.4f}", f"{target:.4f}", theirs.moves,
            f"{_fullest_cpu(theirs.after):.0%}", f"{theirs.seconds:.1f}", f"{ours:.4f}", f"{ours / target - 1:+.0%}",
            fewest, f"{fewest / theirs.moves - 1:+.0%}", f"{ran.cpu_seconds:.2f}",
            f"{theirs.seconds / ran.cpu_seconds:.0f}x",
        )  # fmt: skip
        assert ours <= target
    table.add(*[""] * 8, "mean", f"{-np.mean(better):+.0%}", *[""] * 4)
    table.show()


def _evenness(snapshot: Snapshot) -> Evenness:
    return Evenness(Load(View(snapshot), SETTINGS))


def _score(snapshot: Snapshot) -> float:
    return _evenness(snapshot).score()


def _fullest_cpu(snapshot: Snapshot) -> float:
    return float(_evenness(snapshot).used[0].max())


def _fewest_moves(snapshot: Snapshot, target: float, known: int) -> int:
    """The fewest moves that reach the target, by bisection."""
    low, high = 1, known
    while low < high:
        middle = (low + high) // 2
        made = plan(snapshot, _limited(middle), clock=lambda: 0.0)
        low, high = (low, middle) if _score(apply_plan(snapshot, made)) <= target else (middle + 1, high)
    return high


def _limited(moves: int) -> PlannerSettings:
    from dataclasses import replace

    return replace(SETTINGS, max_moves=moves)
