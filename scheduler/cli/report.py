"""`virt-scheduler report`: all that whoever looks into a problem needs, in one file, and no secrets.

It asks nothing of the daemon that it cannot do without: what cannot be had is told in the report.
"""

import asyncio
import io
import json
import os
import platform
import sqlite3
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import click

from .. import __version__
from .choice import Choice
from .client import Api, ApiError
from .redaction import Secrets
from .session import fail

UNIT: Final = "virt-scheduler"
LOG_LINES: Final = 5000
SNAPSHOTS: Final = 20
PATIENCE_SECONDS: Final = 10.0
"""For each thing that the daemon or another program is asked for."""
_FAILED: Final = 1
_LIVE: Final = "what the daemon sees (status, hosts, snapshot, events)"


@dataclass(slots=True)
class Report:
    """The files so far, by name, and what could not be had. Every text is kept without the secrets."""

    secrets: Secrets
    files: dict[str, bytes] = field(default_factory=dict)
    contents: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add_text(self, name: str, what: str, text: str) -> None:
        """A file of text; `what` it is stands in the list of contents."""
        self.files[name] = self.secrets.without(text).encode()
        self.contents.append(f"{name}: {what}")

    def add_json(self, name: str, what: str, value: Any) -> None:
        """A file of JSON."""
        self.add_text(name, what, json.dumps(self.secrets.out_of(value), indent=1, ensure_ascii=False) + "\n")

    def lacks(self, what: str, why: object) -> None:
        """Something could not be had."""
        self.missing.append(self.secrets.without(f"{what}: {why}"))


@click.command()
@click.option("--output", type=click.Path(path_type=Path), help="The file to write.  [default: one in this directory]")
@click.pass_obj
def report(choice: Choice, output: Path | None) -> None:
    """Write what a bug report needs to one file: config without secrets, journal, snapshots, log, versions.

    It works without a daemon, too. What is in it, and what could not be had, is printed and stands in its README.txt.
    Names of hosts, VMs and users and addresses of hosts stay in it.
    """
    now = datetime.fromtimestamp(time.time(), UTC)
    name = f"virt-scheduler-report-{now:%Y%m%dT%H%M%SZ}"
    path = output or Path(f"{name}.tar.gz")
    made = _gather(choice)
    told = _told(made, now)
    made.files["README.txt"] = told.encode()
    try:
        _write(path, name, made.files, now.timestamp())
    except OSError as error:
        fail(f"{path}: {error.strerror}")
        raise SystemExit(_FAILED) from None
    click.echo(f"{told}\nwritten: {path}")


def _gather(choice: Choice) -> Report:
    from ..config import as_written

    table, unreadable = as_written(choice.config_path)
    made = Report(Secrets(table))
    state_directory = _add_config(made, choice.config_path, table, unreadable)
    _add_live(made, choice)
    _add_journal(made, state_directory)
    _add_log(made)
    _add_versions(made)
    return made


def _add_config(made: Report, path: Path | None, table: dict[str, Any], unreadable: list[str]) -> Path:
    """The config as written and as it is meant; returns the state directory."""
    from ..config import Config, ConfigError, files_read, load

    try:
        config, problems = load(path), unreadable
    except ConfigError as error:
        config, problems = None, list(error.problems)
    found: dict[str, Any] = {"files": [], "problems": problems, "written": table}
    try:
        found["files"] = [str(file) for file in files_read(path)]
    except OSError as error:
        made.lacks("the list of config files", error.strerror)
    if config is not None:
        found["with_defaults"] = config.written()
    made.add_json("config.json", "the config without secrets and comments, and what is wrong with it", found)
    if unreadable:
        made.lacks("a part of the config", "; ".join(unreadable))
    told = table.get("state_directory")
    return Path(told) if config is None and isinstance(told, str) else (config or Config()).state_directory


def _add_live(made: Report, choice: Choice) -> None:
    """What the daemon has in mind, if there is one."""
    try:
        api = Api(choice.endpoint(), patience_seconds=PATIENCE_SECONDS)
    except click.UsageError as error:
        made.lacks(_LIVE, f"it is not known where it listens: {error.message}")
        return
    asked = {
        "status.json": ("the daemon in one look", "/v1/status"),
        "hosts.json": ("the hosts as the daemon sees them", "/v1/hosts"),
        "snapshot.json": ("the cluster as the daemon sees it, for plan --snapshot", "/v1/snapshot"),
    }
    for name, (what, path) in asked.items():
        try:
            made.add_json(name, what, api.get(path))
        except ApiError as error:
            made.lacks(_LIVE, error.text)
            return
    try:
        made.add_json("events.json", "what the daemon remembers to have happened", asyncio.run(_notices(api)))
    except ApiError as error:
        made.lacks("events", error.text)


async def _notices(api: Api) -> list[Any]:
    return [notice async for notice in api.notices(0, quiet_seconds=0.3)]


def _add_journal(made: Report, state_directory: Path) -> None:
    from ..operations.journal_copy import copy
    from ..operations.journal_file import NAME

    with tempfile.TemporaryDirectory() as directory:
        own = Path(directory) / NAME
        try:
            snapshots = copy(state_directory / NAME, own, made.secrets.without, snapshots=SNAPSHOTS)
        except (sqlite3.Error, OSError) as error:
            made.lacks(f"the journal {state_directory / NAME}", error)
            return
        made.files[NAME] = own.read_bytes()
    made.contents.append(f"{NAME}: decisions, migrations, placements, requests, without secrets (sqlite3 {NAME})")
    for cycle, text in snapshots.items():
        made.files[f"snapshots/{_file_name(cycle)}.json"] = text.encode()
    if snapshots:
        what = "what the last cycles that acted decided on, for plan --snapshot"
        made.contents.append(f"snapshots/CYCLE.json: {what} ({len(snapshots)})")


def _file_name(cycle: str) -> str:
    return "".join(one if one.isalnum() or one in "-_." else "_" for one in cycle)


def _add_log(made: Report) -> None:
    command = [
        "journalctl",
        "--unit",
        UNIT,
        "--lines",
        str(LOG_LINES),
        "--output",
        "short-iso",
        "--no-pager",
        "--quiet",
    ]
    lines = _output(command, lambda why: made.lacks("the log", why))
    if lines:
        made.add_text("log.txt", f"the last lines of the log, at most {LOG_LINES:,}", lines)
    elif lines is not None:
        made.lacks("the log", f"systemd's journal shows no line of the unit {UNIT} to this user")


def _output(command: list[str], failed: Callable[[str], None]) -> str | None:
    """What a program prints; None when it cannot be had, and `failed` is told why."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        failed(f"{command[0]}: {error.strerror if isinstance(error, OSError) else 'it does not come to an end'}")
        return None
    if done.returncode:
        failed(f"{command[0]}: {done.stderr.decode(errors='replace').strip() or f'exit code {done.returncode}'}")
        return None
    return done.stdout.decode(errors="replace")


def _add_versions(made: Report) -> None:
    package = _output(["dpkg-query", "--show", "--showformat", "${Version}", UNIT], lambda _: None)
    found: dict[str, Any] = {
        "virt-scheduler": __version__,
        "debian_package": package,
        "python": platform.python_version(),
        "system": _system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "sqlite": sqlite3.sqlite_version,
        "python_packages": dict(sorted((one.name, one.version) for one in metadata.distributions())),
        "hosts": _host_versions(made.files),
    }
    made.add_json("versions.json", "of this program and what it is built on; of libvirt and QEMU on each host", found)
    if not found["hosts"]:
        made.lacks("the versions of libvirt and QEMU on the hosts", "there is neither a daemon nor a snapshot")


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _host_versions(files: dict[str, bytes]) -> dict[str, Any]:
    """By the daemon's snapshot, else by the newest that is kept."""
    kept = sorted(name for name in files if name.startswith("snapshots/"))
    for name in ["snapshot.json", *reversed(kept)]:
        if name in files:
            return {
                host["name"]: {key: host.get(key) for key in ("libvirt_version", "hypervisor_version", "cpu_model")}
                for host in json.loads(files[name])["hosts"]
            }
    return {}


def _told(made: Report, now: datetime) -> str:
    lines = [f"A report of virt-scheduler {__version__}, {now:%Y-%m-%d %H:%M:%S} UTC.", "", "It contains:"]
    lines += [f"  {one}" for one in made.contents]
    lines += ["", "Could not be had:"] if made.missing else ["", "Nothing is missing."]
    lines += [f"  {one}" for one in made.missing]
    lines += [
        "",
        "Tokens, their hashes, passwords and keys are left out. Names and addresses of hosts, VMs and users are not.",
    ]
    return "\n".join(lines) + "\n"


def _write(path: Path, name: str, files: dict[str, bytes], at: float) -> None:
    """One file that only its owner can read. OSError when it cannot be written, or is there already."""
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(opened, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for inner in sorted(files):
            entry = tarfile.TarInfo(f"{name}/{inner}")
            entry.size, entry.mode, entry.mtime = len(files[inner]), 0o600, int(at)
            tar.addfile(entry, io.BytesIO(files[inner]))
