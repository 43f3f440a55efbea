"""The systemd unit and its companions, judged by systemd's own tools; the list of Debian packages."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scheduler.lab import packages

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "virt-scheduler.service"
ESSENTIAL = {"apt", "dpkg", "util-linux", "libvirt0"}
"""On every Debian, or a dependency of what is listed."""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_systemd_has_nothing_to_say_about_the_unit(tmp_path: Path) -> None:
    command = tmp_path / "virt-scheduler"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/bin/virt-scheduler", str(command)))
    verified = run("systemd-analyze", "verify", "--man=no", unit)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_the_unit_exposes_little() -> None:
    rated = run("systemd-analyze", "security", "--offline=true", UNIT)
    level = re.search(r"exposure level for virt-scheduler.service: ([\d.]+)", rated.stdout)
    assert level is not None, rated.stderr
    assert float(level[1]) <= 1.5


def test_the_unit_reloads_restarts_and_is_watched() -> None:
    lines = UNIT.read_text().splitlines()
    for wanted in ("Type=notify", "WatchdogSec=30", "ExecReload=/usr/bin/virt-scheduler reload", "Restart=on-failure"):
        assert wanted in lines


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The root of a machine on which the package's user has been made."""
    (tmp_path / "etc").mkdir()
    made = run("systemd-sysusers", f"--root={tmp_path}", ROOT / "systemd" / "virt-scheduler.sysusers")
    assert made.returncode == 0, made.stderr
    return tmp_path


def test_sysusers_makes_the_user_of_the_unit(machine: Path) -> None:
    assert "virt-scheduler:x:" in (machine / "etc/passwd").read_text()
    assert re.search(r"^libvirt:x:\d+:virt-scheduler$", (machine / "etc/group").read_text(), re.MULTILINE)


def test_tmpfiles_makes_the_directories(machine: Path) -> None:
    made = run("systemd-tmpfiles", "--create", f"--root={machine}", ROOT / "systemd" / "virt-scheduler.tmpfiles")
    could_not_chown = 73
    assert made.returncode == 0 or (os.geteuid() != 0 and made.returncode == could_not_chown), made.stderr
    assert (machine / "etc/virt-scheduler").is_dir()
    assert (machine / "var/lib/virt-scheduler").is_dir()


def test_what_the_lab_needs_is_on_the_list_of_packages() -> None:
    listed = {
        line.split()[1]
        for line in (ROOT / "scripts" / "debian-packages").read_text().splitlines()
        if line and not line.startswith("#")
    }
    assert set(packages.REQUIRED) - ESSENTIAL <= listed
