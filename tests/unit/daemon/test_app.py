"""The process on a simulated cluster: readiness, reload, the orderly end, and what it refuses to start with."""

import asyncio
import contextlib
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from scheduler.cluster.observation import HostFacts
from scheduler.config.loading import parse
from scheduler.config.models import Config
from scheduler.daemon.app import FAILED, StateError, run, serve
from scheduler.daemon.notify import Notifier
from scheduler.daemon.waiting import end
from scheduler.operations.clock import SystemClock
from scheduler.operations.journal_schema import STEPS
from scheduler.simulation.cluster import SimulatedCluster
from scheduler.web.server import ListenError


class Systemd:
    """The receiving end of sd_notify."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self.path))
        self.heard: list[str] = []

    def notifier(self) -> Notifier:
        return Notifier({"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": "300000"})

    async def until(self, start: str) -> str:
        """The next message that starts so."""
        async with asyncio.timeout(5):
            while True:
                message = (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).decode()
                self.heard.append(message)
                if message.startswith(start):
                    return message

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    systemd = Systemd(tmp_path)
    yield systemd
    systemd.close()


def config_in(tmp_path: Path, name: str = "one", *, mode: str = "observe", state: Path | None = None) -> Config:
    text = f"""
        mode = "{mode}"
        state_directory = "{state or tmp_path / name}"
        sample_interval = "100ms"
        event_debounce = "10ms"
        [api]
        socket = "{tmp_path / name}.sock"
        [metrics]
        listen = ""
        [[hosts]]
        name = "node1"
        uri = "qemu+tls://node1/system"
        """
    (tmp_path / f"{name}.toml").write_text(text)
    return parse(text, name)


def cluster() -> SimulatedCluster:
    clock = SystemClock()
    cluster = SimulatedCluster(clock.monotonic, clock.sleep)
    cluster.add_host("node1", HostFacts(cpus=8, memory_mib=16384))
    return cluster


async def get(path: Path, url: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(f"GET {url} HTTP/1.1\r\nHost: daemon\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@contextlib.asynccontextmanager
async def serving(
    config: Config, path: Path, notifier: Notifier, in_force: Callable[[Config], None] = lambda _: None
) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(serve(config, path, cluster(), notifier, set_up_logs=in_force))
    try:
        yield task
    finally:
        await end(task)


async def test_from_ready_over_reload_to_the_end(tmp_path: Path, systemd: Systemd):
    config, path = config_in(tmp_path), tmp_path / "one.toml"
    before, in_force = asyncio.all_tasks(), list[Config]()
    async with serving(config, path, systemd.notifier(), in_force.append) as task:
        await systemd.until("READY=1")
        assert b'"mode":"observe"' in (await get(config.api.socket, "/v1/status")).replace(b" ", b"")
        await systemd.until("WATCHDOG=1")
        config_in(tmp_path, mode="auto")
        os.kill(os.getpid(), signal.SIGHUP)
        assert "MONOTONIC_USEC=" in await systemd.until("RELOADING=1")
        await systemd.until("READY=1")
        assert b'"mode":"auto"' in (await get(config.api.socket, "/v1/status")).replace(b" ", b"")
        path.write_text("mode = 'sometimes'")
        os.kill(os.getpid(), signal.SIGHUP)
        await systemd.until("READY=1")
        status = await get(config.api.socket, "/v1/status")
        assert b"one.toml: mode" in status
        assert [config.mode.value for config in in_force] == ["auto"]
        os.kill(os.getpid(), signal.SIGTERM)
        await systemd.until("STOPPING=1")
        await asyncio.wait_for(task, 5)
    assert not config.api.socket.exists()
    assert asyncio.all_tasks() == before


async def test_a_second_daemon_on_the_same_state_directory_is_refused(tmp_path: Path, systemd: Systemd):
    state = tmp_path / "state"
    async with serving(config_in(tmp_path, state=state), tmp_path / "one.toml", systemd.notifier()):
        await systemd.until("READY=1")
        with pytest.raises(StateError, match=f"another daemon works in the state directory {state}"):
            await serve(config_in(tmp_path, "two", state=state), None, cluster(), Notifier({}))
    # The first one has let go of it.
    async with serving(config_in(tmp_path, "two", state=state), tmp_path / "two.toml", systemd.notifier()):
        await systemd.until("READY=1")


async def test_a_second_daemon_on_the_same_socket_is_refused(tmp_path: Path, systemd: Systemd):
    first = config_in(tmp_path)
    second = first.model_copy(update={"state_directory": tmp_path / "two"})
    async with serving(first, tmp_path / "one.toml", systemd.notifier()):
        await systemd.until("READY=1")
        with pytest.raises(ExceptionGroup) as refused:
            await serve(second, None, cluster(), Notifier({}))
        assert refused.group_contains(ListenError, match="another daemon already answers there")
        assert b"200 OK" in await get(first.api.socket, "/v1/status")


async def test_sigterm_before_it_is_ready_ends_it(tmp_path: Path, systemd: Systemd):
    config = config_in(tmp_path)
    away = SimulatedCluster(SystemClock().monotonic, SystemClock().sleep)
    task = asyncio.create_task(serve(config, None, away, systemd.notifier()))
    await asyncio.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, 5)
    assert await systemd.until("STOPPING=1")
    assert not [message for message in systemd.heard if message.startswith("READY")]


Spoil = Callable[[Path], None]


def _state_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("")


def _journal_is_of_a_newer_version(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "one" / "journal.sqlite")) as journal:
        journal.execute("PRAGMA user_version = 99")


def _socket_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "one.sock").write_text("")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_state_is_a_file, "cannot use the state directory {}/one: File exists"),
        (
            _journal_is_of_a_newer_version,
            (
                f"{{}}/one/journal.sqlite: the journal has version 99, this program knows up to {len(STEPS)}: install "
                "the version that wrote it, or put back a copy of before"
            ),
        ),
        (_socket_is_a_file, "cannot serve the API on {}/one.sock: it exists and is not a socket"),
    ],
)
def test_what_it_cannot_use_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Spoil, told: str
):
    path = tmp_path / "one.toml"
    config_in(tmp_path)
    path.write_text(path.read_text().replace("qemu+tls://node1/system", "test:///default"))
    spoil(tmp_path)
    assert run(path) == FAILED
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("virt-scheduler")] == [
        f"virt-scheduler: {told.format(tmp_path)}"
    ]
