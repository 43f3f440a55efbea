"""A real daemon on a lab: a process of its own, asked over its socket and used with its command."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import libvirt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scheduler.lab.guest import GuestSpec
    from scheduler.lab.lab import Lab

T = TypeVar("T")
Answer = dict[str, Any]

FAST = 'sample_interval = "500ms"\nsweep_interval = "1s"\nevent_debounce = "100ms"\n'
"""Keys that let the daemon measure often and act at once."""
READY_TO_BALANCE = '[balance]\nhold = "2s"\n[limits]\nwarm_up = "0s"\ncooldown = "1s"\nmax_moved_per_hour = 1.0\n'
SLOW_MIGRATION = '[migration]\nbandwidth = "7MiB/s"\n'
"""Makes the migration of a guest take some 10 s, long enough to do something in the middle of it."""
FINAL_STATES = frozenset({"completed", "failed", "aborted", "unknown"})

_READY_SECONDS = 60
_END_SECONDS = 60
_COMMAND_SECONDS = 90


def until(look: Callable[[], T | None], what: str, *, seconds: float = 60) -> T:
    """Look again and again until there is something to see, and return it."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return seen


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, read as one JSON document."""
        return json.loads(self.out)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("scheduler", timeout=_COMMAND_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class RunningDaemon:
    """The daemon on a lab's hosts, with a state directory of its own; ready when made. `close` it.

    `head` are the config's first keys, `tables` its last lines; `within` is a command that runs the daemon's.
    """

    def __init__(
        self,
        lab: Lab,
        head: str = FAST,
        tables: str = "",
        *,
        mode: str = "auto",
        state: Path | None = None,
        within: tuple[str, ...] = (),
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="d", dir=lab.directory))
        self.config_file = self.folder / "config.toml"
        self.socket = self.folder / "api.sock"
        self.log = self.folder / "log"
        self._within = within
        self._hosts = (
            lab.config_file.read_text()
            .replace('mode = "auto"\n', "")
            .replace(str(lab.directory / "state"), str(state or self.folder / "state"))
            .replace(str(lab.directory / "api.sock"), str(self.socket))
        )
        self.configure(head, tables, mode=mode)
        self.start()

    # The process

    def configure(self, head: str = FAST, tables: str = "", *, mode: str = "auto") -> None:
        """Write its config; a running daemon takes it in with `reload`."""
        self.config_file.write_text(f'mode = "{mode}"\n{head}{self._hosts}\n{tables}')

    def start(self) -> None:
        """Start it, anew after it has ended, and wait until it is ready."""
        command = [*self._within, sys.executable, "-m", "scheduler", "--config", str(self.config_file), "run"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._is_ready, "the daemon is ready", seconds=_READY_SECONDS)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"the daemon ended:\n{self.log.read_text()[-2000:]}"
        try:
            return self._call("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """End it as a service manager would; returns its exit code."""
        self.process.terminate()
        return self.process.wait(_END_SECONDS)

    def close(self) -> None:
        """End it, if it has not ended yet; what it logged is shown with a test that failed."""
        sys.stdout.write(self.log.read_text(errors="replace"))
        self.end()

    def end(self) -> None:
        """End it, if it has not ended yet, and keep silent about what it logged."""
        if self.process.poll() is None:
            try:
                self.terminate()
            except subprocess.TimeoutExpired:
                self.kill()

    # Its API

    def get(self, path: str) -> Any:
        """What is at `path` below /v1/."""
        return self._answer("GET", path)

    def post(self, path: str, **body: object) -> Any:
        """Have something done."""
        return self._answer("POST", path, body)

    def _answer(self, method: str, path: str, body: object = None) -> Any:
        status, text = self._call(method, f"/v1/{path}", body)
        assert status < 400, f"{method} {path}: {status} {text}"
        return json.loads(text)

    def _call(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        with contextlib.closing(_UnixConnection(self.socket)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def vm(self, name: str) -> Answer | None:
        """One VM as the daemon sees it; None when it sees none."""
        found = self.get(f"vms?name={urllib.parse.quote(name)}")["vms"]
        assert len(found) < 2, f"{name}: seen {len(found)} times"
        return found[0] if found else None

    def sees(self, name: str, state: str, host: str) -> bool:
        """Whether it sees the VM in this state on this host."""
        vm = self.vm(name)
        return vm is not None and (vm["state"], vm["host"]) == (state, host)

    def host(self, name: str) -> Answer:
        """One host as the daemon sees it."""
        answer: Answer = self.get(f"hosts/{name}")
        return answer

    def placement_of(self, vm: str, *, ended: bool = True) -> Answer | None:
        """The latest placement of a VM that has ended or, at choice, that is still under way."""
        for record in self.get("placements")["placements"]:
            if record["vm"] == vm and (record["outcome"] not in {"defining", "starting"}) == ended:
                found: Answer = record
                return found
        return None

    def migrations(self) -> list[Answer]:
        """All migrations, newest first."""
        records: list[Answer] = self.get("migrations")["migrations"]
        return records

    def migration_of(self, vm: str, *, state: str = "", trigger: str = "") -> Answer | None:
        """The latest migration of a VM with that state and trigger."""
        for record in self.migrations():
            if record["vm"] == vm and record["state"].startswith(state) and record["trigger"].startswith(trigger):
                return record
        return None

    def migrating(self, vm: str) -> Answer | None:
        """The migration of a VM that is being carried over at this moment."""
        record = self.migration_of(vm, state="migrating")
        return record if record and record["progress_ratio"] else None

    @property
    def metrics_address(self) -> str:
        """Where it serves metrics."""
        return self._hosts.split('listen = "')[1].split('"')[0]

    def metrics(self) -> str:
        """What Prometheus would scrape."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    # Its command

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `virt-scheduler ARGUMENTS` in a process group of its own."""
        command = [sys.executable, "-m", "scheduler", "--config", str(self.config_file), *arguments]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def run(self, *arguments: str) -> Done:
        """Run `virt-scheduler ARGUMENTS` to its end."""
        return ended(self.begin(*arguments))

    def define_file(self, lab: Lab, guest: GuestSpec, change: Callable[[str], str] = str) -> str:
        """The path of a file with the guest's XML, as `place` takes it."""
        path = self.folder / f"{guest.name}.xml"
        path.write_text(change(lab.guest_xml(guest)))
        return str(path)


def ended(process: subprocess.Popen[str]) -> Done:
    """Wait for a command that was begun."""
    out, err = process.communicate(timeout=_COMMAND_SECONDS)
    return Done(process.returncode, out, err)


def interrupt(process: subprocess.Popen[str]) -> Done:
    """Press Ctrl-C in a command that was begun."""
    process.send_signal(signal.SIGINT)
    return ended(process)


def console_in(folder: str):
    """A guest with its console in a folder of the host; where there is no such folder, the start fails for real."""
    return lambda xml: xml.replace('<source path="/var/log/libvirt/', f'<source path="/var/log/libvirt/{folder}/')


# What anyone does at the hosts without the daemon


def define(lab: Lab, host: str, guest: GuestSpec, change: Callable[[str], str] = str) -> str:
    """Define a guest with libvirt; returns its UUID."""
    with lab.hosts[host].connect() as connection:
        uuid: str = connection.defineXML(change(lab.guest_xml(guest))).UUIDString()
    return uuid


def start(lab: Lab, host: str, name: str, *, paused: bool = False) -> None:
    """Start a defined guest with libvirt; a paused one takes its room and no CPU."""
    with lab.hosts[host].connect() as connection:
        connection.lookupByName(name).createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)


def run_guests(lab: Lab, host: str, guests: Iterable[GuestSpec], change: Callable[[str], str] = str) -> None:
    """Define and start guests, and wait until all have booted."""
    guests = tuple(guests)
    for guest in guests:
        define(lab, host, guest, change)
        start(lab, host, guest.name)
    for guest in guests:
        lab.wait_for_guest(guest.name)


def migrate_by_hand(lab: Lab, name: str, source: str, destination: str) -> None:
    """Migrate with libvirt, as `virsh migrate --live --p2p --persistent --undefinesource` does."""
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER
    flags |= libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    target = lab.hosts[destination]
    with lab.hosts[source].connect() as connection:
        uri = {libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{target.migration_address}"}
        connection.lookupByName(name).migrateToURI3(target.peer_uri, uri, flags)


def definitions(lab: Lab, name: str) -> list[str]:
    """The hosts on which libvirt knows a guest of that name, running or not."""
    return _hosts_that_list(lab, name, 0)


def running_on(lab: Lab, name: str) -> list[str]:
    """The hosts on which libvirt really runs a guest of that name."""
    return _hosts_that_list(lab, name, libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING)


def _hosts_that_list(lab: Lab, name: str, flags: int) -> list[str]:
    found = []
    for host in lab.hosts.values():
        with host.connect() as connection:
            if any(domain.name() == name for domain in connection.listAllDomains(flags)):
                found.append(host.name)
    return found
