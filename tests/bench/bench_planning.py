"""How long plans take: 100 hosts with 2,000 VMs and 1,000 with 20,000, 1 % of the VMs and without a limit."""

import json
from pathlib import Path

import pytest

from scheduler.cluster.codec import dump_snapshot
from scheduler.cluster.model import Snapshot
from tests.bench.clusters import generated
from tests.bench.table import Table, timed

pytestmark = pytest.mark.timeout(600)

FIGURES = [
    (100, 2_000, 20, 0.2, 1.5),
    (100, 2_000, None, 1.5, 3.0),
    (1_000, 20_000, 200, 5, 8),
    (1_000, 20_000, None, 30, 35),
]


def test_planning_is_fast(tmp_path: Path) -> None:
    table = Table("Planning (objective spread): seconds of planning and of the whole command")
    table.add("hosts", "VMs", "moves", "batches", "planning", "at most", "whole", "CPU", "MiB", "command")
    clusters: dict[int, Path] = {}
    timed("plan", "--snapshot", _written(generated(10, 150, seed=1), tmp_path), "--objective", "spread", "--json")
    for hosts, vms, most, planning_limit, _ in FIGURES:
        path = clusters.setdefault(hosts, tmp_path / f"{hosts}.json")
        if not path.exists():
            path.write_text(dump_snapshot(generated(hosts, vms, seed=1)), encoding="utf-8")
        limit = () if most is None else ("--max-moves", str(most))
        ran = timed("plan", "--snapshot", path, "--objective", "spread", *limit, "--time-limit", "30", "--json")
        made = json.loads(ran.output)
        batches = max(step["batch"] for step in made["steps"])
        seconds = f"{made['planning_seconds']:.2f} s"
        whole = (f"{ran.seconds:.2f} s", f"{ran.cpu_seconds:.2f} s", ran.peak_mib, ran.line)
        table.add(hosts, vms, len(made["steps"]), batches, seconds, f"{planning_limit} s", *whole)
        assert made["score_after"] < made["score_before"]
        assert ran.peak_mib <= 600
    table.show()


def _written(snapshot: Snapshot, directory: Path) -> Path:
    path = directory / f"{len(snapshot.hosts)}.json"
    path.write_text(dump_snapshot(snapshot), encoding="utf-8")
    return path
