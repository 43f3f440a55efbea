"""The record of load: what comes back of what was written, how long it is kept, and what becomes of a damaged file."""

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from scheduler.cluster.model import HostState, Snapshot, VmState
from scheduler.operations.load_record import LoadRecorder, read_minutes
from tests.unit.clusters import cluster, host, vm

BEGIN = datetime(2026, 11, 24, tzinfo=UTC)


def minutes(count: int, *, vms: int = 3) -> list[Snapshot]:
    random = Random(1)
    hosts = [host("node1"), host("node2")]
    found = []
    for n in range(count):
        guests = [
            replace(
                vm(f"vm{k}", "node1" if (k + n // 5) % 2 else "node2"),
                cpu_demand_cores=None if k == 0 and n == 1 else random.randrange(400) / 100,
                memory_used_mib=16.0 * random.randrange(32, 64),
                dirty_mib_per_s=random.randrange(100) / 10,
            )
            for k in range(vms)
            if (k, n) != (1, 2)
        ]
        found.append(replace(cluster(hosts, guests), taken_at=BEGIN + timedelta(minutes=n)))
    return found


def shown(snapshot: Snapshot) -> dict[str, tuple[object, ...]]:
    return {
        vm.name: (vm.host, vm.state, vm.cpu_demand_cores, vm.memory_used_mib, vm.dirty_mib_per_s, vm.vcpus)
        for vm in snapshot.vms
    }


def test_every_minute_comes_back_across_a_restart_and_the_hourly_base(tmp_path: Path):
    path, written = tmp_path / "load.sqlite", minutes(130)
    recorder = LoadRecorder(path)
    for n, snapshot in enumerate(written):
        recorder = LoadRecorder(path) if n == 33 else recorder
        recorder.add(snapshot, 86400.0)
    read = list(read_minutes(path, BEGIN.timestamp() + 5 * 60))
    assert [minute.at for minute in read] == [snapshot.taken_at.timestamp() for snapshot in written[5:]]
    for minute, snapshot in zip(read, written[5:], strict=True):
        assert shown(replace(snapshot, vms=minute.vms)) == shown(snapshot)


def test_states_and_what_changes_about_a_vm_are_kept(tmp_path: Path):
    path, [first, second] = tmp_path / "load.sqlite", minutes(2)
    recorder = LoadRecorder(path)
    recorder.add(first, 86400.0)
    hosts = (first.hosts[0], replace(first.hosts[1], state=HostState.MAINTENANCE))
    larger = replace(second.vms[0], memory_mib=9999, state=VmState.PAUSED)
    stopped = replace(second.vms[1], state=VmState.STOPPED)
    recorder.add(replace(second, hosts=hosts, vms=(larger, stopped)), 86400.0)
    [_, read] = read_minutes(path, 0.0)
    assert [one.state for one in read.hosts] == [HostState.UP, HostState.MAINTENANCE]
    assert [(one.memory_mib, one.state) for one in read.vms] == [(9999, VmState.PAUSED)]


def test_what_is_too_old_goes(tmp_path: Path):
    path, recorder = tmp_path / "load.sqlite", LoadRecorder(tmp_path / "load.sqlite")
    for snapshot in minutes(200):
        recorder.add(snapshot, 3600.0)
    assert BEGIN.timestamp() < next(iter(read_minutes(path, 0.0))).at <= BEGIN.timestamp() + 140 * 60


def test_a_damaged_file_is_put_aside_and_the_next_minute_begins_anew(tmp_path: Path):
    path, recorder = tmp_path / "load.sqlite", LoadRecorder(tmp_path / "load.sqlite")
    path.write_bytes(b"no database at all, but long enough to look like one" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        recorder.add(minutes(1)[0], 60.0)
    assert (tmp_path / "load.damaged").exists()
    recorder.add(minutes(1)[0], 60.0)
    assert len(list(read_minutes(path, 0.0))) == 1


def test_nothing_recorded_is_told(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nothing has been recorded"):
        next(read_minutes(tmp_path / "load.sqlite", 0.0))
