"""Private libvirtd processes of an unprivileged user: real RPC, real events, real faults, no root and no network.

Each serves libvirt's own `test` driver (no QEMU behind it) and the `qemu` driver in session mode.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from scheduler.cluster.ports import HostAddress
from scheduler.lab import reaper
from tests.unit.hypervisor.watched import Watched

UNPRIVILEGED = "nobody"


class Libvirtd:
    """One session-mode libvirtd with a home, a socket and a host UUID of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix="virt-scheduler-libvirtd."))
        self._parents: list[subprocess.Popen[bytes]] = []
        config = self.directory / "config" / "libvirt"
        config.mkdir(parents=True)
        (config / "libvirtd.conf").write_text(f'host_uuid = "{uuid.uuid4()}"\n')
        (self.directory / "run").mkdir()
        if os.geteuid() == 0:
            for path in (self.directory, *self.directory.rglob("*")):
                shutil.chown(path, UNPRIVILEGED)

    @property
    def socket(self) -> Path:
        return self.directory / "run" / "libvirt" / "libvirt-sock"

    @property
    def _pid_file(self) -> Path:
        return self.directory / "run" / "libvirt" / "libvirtd.pid"

    def uri(self, driver: str) -> str:
        return {
            "test": f"test+unix:///default?socket={self.socket}",
            "qemu": f"qemu+unix:///session?socket={self.socket}",
        }[driver]

    def address(self, driver: str = "test") -> HostAddress:
        uri = self.uri(driver)
        return HostAddress(name=self.name, uri=uri, peer_uri=uri, migration_address="127.0.0.1")

    def start(self) -> None:
        self._pid_file.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
        drop = ["setpriv", "--reuid", UNPRIVILEGED, "--regid", "nogroup", "--clear-groups"]
        places = {"HOME": "", "XDG_RUNTIME_DIR": "run", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache"}
        with (self.directory / "stderr").open("ab") as stderr:
            parent = subprocess.Popen(
                [sys.executable, "-I", "-S", reaper.__file__, *(drop if os.geteuid() == 0 else []), "libvirtd"],
                env=os.environ | {name: str(self.directory / place) for name, place in places.items()},
                cwd=self.directory,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        deadline = time.monotonic() + 20
        self._parents.append(parent)
        while not self.socket.exists() and parent.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.socket.exists(), (self.directory / "stderr").read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send it; once this returns, one that was stopped does no more."""
        pid = int(self._pid_file.read_text())
        os.kill(pid, number)
        while number is signal.SIGSTOP and not self._all_stopped(pid):
            time.sleep(0.001)

    def _all_stopped(self, pid: int) -> bool:
        stats = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat"))
        return all(stat.rpartition(") ")[2].startswith("T") for stat in stats)

    def kill(self) -> None:
        """As a crash: SIGKILL, and what it leaves behind stays."""
        pid = int(self._pid_file.read_text())
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.001)

    def kill_guest(self, pid: int) -> None:
        """End a process, if it is one of this libvirtd's."""
        if str(self.directory).encode() in Path(f"/proc/{pid}/environ").read_bytes():
            os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        with suppress(FileNotFoundError, ProcessLookupError):  # it may never have started, or be killed already
            self.kill()
        for pid_file in (self.directory / "run").rglob("*.pid"):  # guests that a failed test left running
            with suppress(FileNotFoundError, ProcessLookupError, ValueError):
                self.kill_guest(int(pid_file.read_text()))
        for parent in self._parents:  # each ends with the last guest of its libvirtd
            parent.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    async def virsh(self, driver: str, *arguments: str) -> str:
        """What anyone else does on that host."""
        process = await asyncio.create_subprocess_exec(
            "virsh", "-q", "-c", self.uri(driver), *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return output.decode().strip()


def _require(program: str) -> None:
    if shutil.which(program) is None:
        reason = f"{program} is not installed"
        if os.environ.get("VIRT_SCHEDULER_REQUIRE_LAB") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def new_libvirtd() -> Iterator[Callable[[str], Libvirtd]]:
    """Makes libvirtds, started; they are gone after the test."""
    _require("libvirtd")
    made: list[Libvirtd] = []

    def make(name: str) -> Libvirtd:
        libvirtd = Libvirtd(name)
        made.append(libvirtd)
        libvirtd.start()
        return libvirtd

    yield make
    for libvirtd in made:
        libvirtd.remove()


@pytest.fixture
def libvirtd(new_libvirtd: Callable[[str], Libvirtd]) -> Libvirtd:
    return new_libvirtd("node1")


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    yield watched
    await watched.close()


@pytest.fixture
def qemu_installed() -> None:
    _require("qemu-system-x86_64")
