import asyncio
import socket
import stat
import time
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge

from scheduler.web.app import create_app
from scheduler.web.server import ListenError, serve_api, serve_metrics

from .memory import Client, MemoryControl


def leave_stale_socket(path: Path) -> None:
    """What a killed daemon leaves behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()


def descriptors() -> int:
    """How many this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def health(path: Path) -> int:
    client = Client(path)
    async with client.session:
        return (await client.call("GET", "/healthz"))[0]


async def test_socket_is_made_with_its_directory_and_mode_and_removed(
    control: MemoryControl, socket_path: Path
) -> None:
    async with serve_api(create_app(control), socket_path, mode=0o600):
        assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
        assert await health(socket_path) == 200
    assert not socket_path.exists()


async def test_stale_socket_is_replaced(control: MemoryControl, socket_path: Path) -> None:
    leave_stale_socket(socket_path)
    async with serve_api(create_app(control), socket_path):
        assert await health(socket_path) == 200


async def test_second_daemon_is_refused_and_the_first_goes_on(control: MemoryControl, socket_path: Path) -> None:
    async with serve_api(create_app(control), socket_path):
        with pytest.raises(ListenError, match="another daemon already answers there"):
            async with serve_api(create_app(control), socket_path):
                pass
        assert await health(socket_path) == 200


async def test_file_that_is_no_socket_is_left_alone(control: MemoryControl, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(ListenError, match="it exists and is not a socket"):
        async with serve_api(create_app(control), path):
            pass
    assert path.read_text() == "precious"


async def test_path_that_the_system_refuses_is_named(control: MemoryControl, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(ListenError, match=f"cannot serve the API on {path}: "):
        async with serve_api(create_app(control), path):
            pass


async def test_socket_that_somebody_else_put_there_is_not_removed(control: MemoryControl, socket_path: Path) -> None:
    async with serve_api(create_app(control), socket_path):
        socket_path.rename(socket_path.with_name("moved"))
        leave_stale_socket(socket_path)
    assert socket_path.exists()


async def test_end_does_not_wait_for_an_open_event_stream(control: MemoryControl, socket_path: Path) -> None:
    client = Client(socket_path)
    async with client.session:
        async with serve_api(create_app(control), socket_path):
            response = await client.session.get("/v1/events")
            await response.content.readline()
            started = time.monotonic()
        assert time.monotonic() - started < 1.0
        assert await response.content.read() == b"\n"


async def test_no_descriptor_is_left_open(control: MemoryControl, socket_path: Path) -> None:
    before = descriptors()
    for _ in range(3):
        async with serve_api(create_app(control), socket_path):
            assert await health(socket_path) == 200
    await asyncio.sleep(0)
    assert descriptors() == before


async def test_metrics_are_served_on_their_own_port() -> None:
    registry = CollectorRegistry()
    Gauge("answer", "Of everything.", registry=registry).set(42)
    async with serve_metrics(registry, "127.0.0.1", 0) as (host, port), aiohttp.ClientSession() as session:
        async with session.get(f"http://{host}:{port}/metrics") as response:
            assert response.content_type == "text/plain"
            assert "answer 42.0\n" in await response.text()
        async with session.get(f"http://{host}:{port}/v1/hosts") as response:
            assert response.status == 404


async def test_port_that_is_taken_is_named() -> None:
    async with serve_metrics(CollectorRegistry(), "127.0.0.1", 0) as (host, port):
        with pytest.raises(ListenError, match=f"cannot serve metrics on {host}:{port}: "):
            async with serve_metrics(CollectorRegistry(), host, port):
                pass
