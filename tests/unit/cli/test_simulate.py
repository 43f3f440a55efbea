"""The command `simulate`: what it prints, and the one line that it says of bad input."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scheduler.cli.simulate import simulate
from scheduler.cluster.codec import dump_snapshot
from tests.unit.clusters import cluster, host, vm

LOAD = "time_s,vm,cpu_demand_cores\n0,web1,2\n30,web1,2.5\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    snapshot, load = tmp_path / "snapshot.json", tmp_path / "load.csv"
    hot = cluster([host("node1", cpus=2), host("node2")], [vm("web1", "node1"), vm("web2", "node1")])
    snapshot.write_text(dump_snapshot(hot))
    load.write_text(LOAD)
    return ("--cluster", str(snapshot), "--load", str(load))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(simulate, arguments)


def test_json_has_the_figures_of_each_policy(files: tuple[str, ...]):
    result = run(*files, "--policy", "virt-scheduler", "--policy", "none", "--seed", "7", "--json")
    assert result.exit_code == 0, result.output
    policies = json.loads(result.stdout)["policies"]
    assert list(policies) == ["virt-scheduler", "none"]
    wanted = {"contention_vm_minutes", "overloaded_host_minutes", "migrations", "gib_moved", "reverse_moves"}
    assert all(wanted <= set(figures) for figures in policies.values())
    assert policies["none"]["simulated_hours"] == pytest.approx(1 / 60)


def test_a_table_for_people(files: tuple[str, ...]):
    result = run(*files, "--policy", "none", "--policy", "threshold")
    assert result.exit_code == 0
    assert "contention, VM-minutes" in result.stdout
    assert "threshold" in result.stdout


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--load", "/nowhere/load.csv"), "virt-scheduler: /nowhere/load.csv: No such file or directory"),
        (("--cluster", "/nowhere/snapshot.json"), "virt-scheduler: /nowhere/snapshot.json: No such file or directory"),
        (("--config", "/nowhere/config.toml"), "virt-scheduler: /nowhere/config.toml: there is no such file"),
        (("--failing", "2"), "2.0 is not in the range 0<=x<=1"),
        (("--policy", "best"), "'best' is not one of 'virt-scheduler', 'none'"),
    ],
)
def test_bad_input_is_one_line_and_2(files: tuple[str, ...], wrong: tuple[str, ...], said: str):
    result = run(*files, *wrong)
    assert result.exit_code == 2
    assert said in result.stderr.splitlines()[-1]


def test_rules_that_no_config_could_have_are_replayed_all_the_same(files: tuple[str, ...]):
    path = Path(files[1])
    snapshot = json.loads(path.read_text())
    snapshot["rules"] = {"pins": [{"vm": "", "hosts": [""]}], "anti_affinity": [{"vms": [""]}]}
    path.write_text(json.dumps(snapshot))
    assert run(*files, "--policy", "virt-scheduler").exit_code == 0
