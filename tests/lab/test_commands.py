"""`virt-scheduler lab`: what it prints, and its one-line refusals."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from scheduler.cli.lab import lab as command


def test_a_directory_with_other_things_in_it_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    result = CliRunner().invoke(command, ["status", "--dir", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr == f"virt-scheduler lab: {tmp_path}: no lab here\n"
    CliRunner().invoke(command, ["down", "--dir", str(tmp_path)])
    assert CliRunner().invoke(command, ["up", "--dir", str(tmp_path)]).exit_code == 2
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.lab
def test_up_status_and_down(tmp_path: Path) -> None:
    where = ["--dir", str(tmp_path / "lab")]
    up = CliRunner().invoke(command, ["up", "--hosts", "2", "--json", *where])
    try:
        assert up.exit_code == 0, up.stderr
        printed = json.loads(up.stdout)
        config = tomllib.loads(Path(printed["config"]).read_text())
        assert [host["uri"] for host in config["hosts"]] == [host["uri"] for host in printed["hosts"]]
        assert [host["cpu_model"] for host in printed["hosts"]] == ["Nehalem", "Westmere"]
        status = CliRunner().invoke(command, ["status", *where]).stdout.splitlines()
        assert status[0] == printed["config"]
        assert status[1].split()[:3] == ["node1", "up", "10.66.0.1"]
    finally:
        down = CliRunner().invoke(command, ["down", *where])
    assert down.exit_code == 0
    assert not (tmp_path / "lab").exists()
    assert CliRunner().invoke(command, ["down", *where]).exit_code == 0
