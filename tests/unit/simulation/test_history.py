"""The replay of what a daemon has recorded: VMs that come and go, hosts that fail, gaps, and the sentence."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from scheduler.cli.simulate import simulate
from scheduler.cluster.model import HostState, Snapshot
from scheduler.operations.load_record import NAME, LoadRecorder
from scheduler.simulation.history import read_history, sentence
from scheduler.simulation.load import LoadError
from scheduler.simulation.meter import Figures
from scheduler.simulation.script import Deed, Happening
from tests.unit.clusters import cluster, host, vm

NOW = datetime.now(UTC)


def recorded(tmp_path: Path, snapshots: list[Snapshot], *, began: datetime = NOW - timedelta(hours=2)) -> Path:
    recorder = LoadRecorder(tmp_path / NAME)
    for n, snapshot in enumerate(snapshots):
        recorder.add(replace(snapshot, taken_at=began + timedelta(minutes=n)), 86400.0)
    return tmp_path / NAME


def hot(*, without: str = "", second: HostState = HostState.UP) -> Snapshot:
    """Three VMs of 3 cores on a host of 8, beside an empty one."""
    hosts = [host("node1", cpus=8), replace(host("node2", cpus=8), state=second)]
    guests = [replace(vm(f"vm{n}", "node1"), vcpus=4, cpu_demand_cores=3.0) for n in range(3)]
    return cluster(hosts, [one for one in guests if one.name != without])


def test_the_record_becomes_the_first_minute_and_what_changed_after_it(tmp_path: Path):
    path = recorded(
        tmp_path, [hot(without="vm2"), hot(), hot(without="vm0", second=HostState.UNREACHABLE), hot(without="vm0")]
    )
    found = read_history(path, 0.0)
    uuids = {one.name: one.uuid for one in found.snapshot.vms}
    assert {one.name: one.active for one in found.snapshot.vms} == {"vm0": True, "vm1": True, "vm2": False}
    assert [(one.time_s, one.deed) for one in found.happenings] == [
        (60.0, Deed.START),
        (120.0, Deed.LOSE),
        (120.0, Deed.STOP),
        (180.0, Deed.RETURN),
    ]
    assert found.happenings[0] == Happening(60.0, Deed.START, uuids["vm2"], "node1")
    assert found.load.end_s == 240.0
    assert {wanted[0] for _, many in found.load.changes for wanted in many} == set(uuids.values())


def test_a_gap_is_left_out(tmp_path: Path):
    path = recorded(tmp_path, [hot(), hot()])
    recorded(tmp_path, [hot()], began=NOW - timedelta(minutes=20))
    assert read_history(path, 0.0).load.end_s == 180.0


def test_too_little_is_refused(tmp_path: Path):
    with pytest.raises(LoadError, match="has 1 minutes of that time, allowed are 2 or more"):
        read_history(recorded(tmp_path, [hot()]), 0.0)
    with pytest.raises(LoadError, match="nothing has been recorded"):
        read_history(tmp_path / "none" / NAME, 0.0)


def test_the_sentence():
    own, nobody = Figures(migrations=9, contention_vm_minutes=11.0), Figures(contention_vm_minutes=52.0)
    assert sentence(7.0, own, nobody) == (
        "the last 7 days with these settings: 9 moves, 41 VM-minutes of contention prevented (52 without, 11 with them)"
    )
    assert sentence(0.5, nobody, own).startswith("the last 12 hours with these settings: 0 moves, 41 VM-minutes of")


def test_the_command_tells_what_would_have_been(tmp_path: Path):
    recorded(tmp_path, [hot(without="vm2")] * 7 + [hot()] * 13)
    config = tmp_path / "config.toml"
    config.write_text(f'state_directory = "{tmp_path}"\n[limits]\nmax_moved_per_hour = 1.0\n')
    run = CliRunner().invoke(simulate, ["--history", "--since", "1d", "--config", str(config), "--json"])
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert told["policies"]["none"]["contention_vm_minutes"] == pytest.approx(39, abs=1)
    assert told["policies"]["virt-scheduler"]["migrations"] == 1
    assert told["policies"]["virt-scheduler"]["contention_vm_minutes"] < 15
    assert told["sentence"].startswith("the last 0.333 hours with these settings: 1 move, ")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--history", "--since", "soon"], "--since: "),
        (["--history", "--load", "x.csv"], "--history: is instead of"),
        (["--load", "x.csv"], "are needed both"),
    ],
)
def test_what_does_not_go_together_is_one_line_and_2(tmp_path: Path, wrong: list[str], said: str):
    config = tmp_path / "config.toml"
    config.write_text(f'state_directory = "{tmp_path}"\n')
    run = CliRunner().invoke(simulate, [*wrong, "--config", str(config)])
    assert run.exit_code == 2
    assert said in run.stderr
