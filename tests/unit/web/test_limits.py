"""What a caller can take of the daemon, and what is said when it wants more."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scheduler.web.app import create_app
from scheduler.web.limits import ApiLimits, ConnectionLimits, Pace
from scheduler.web.server import serve_api

from .memory import Client, MemoryControl


@asynccontextmanager
async def limited(control: MemoryControl, path: Path, **limits: float) -> AsyncIterator[Client]:
    app = create_app(control, limits=ApiLimits(**limits))  # type: ignore[arg-type]
    async with serve_api(app, path):
        client = Client(path)
        async with client.session:
            yield client


def paced(per_second: float, at_once: int) -> tuple[Pace, Callable[[float], None]]:
    now = [100.0]

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    return Pace(per_second, at_once, lambda: now[0]), pass_time


def through(pace: Pace, key: str, times: int) -> int:
    passed = 0
    for _ in range(times):
        if not pace.wait_seconds(key):
            pace.take(key)
            passed += 1
    return passed


def test_pace_lets_some_through_at_once_and_then_so_many_a_second() -> None:
    pace, pass_time = paced(2.0, 5)
    assert through(pace, "a", 9) == 5
    assert pace.wait_seconds("a") == pytest.approx(0.5)
    assert through(pace, "b", 9) == 5
    pass_time(1.0)
    assert through(pace, "a", 9) == 2
    pass_time(60.0)
    assert through(pace, "a", 9) == 5


def test_pace_forgets_who_has_waited_long_enough() -> None:
    pace, pass_time = paced(1.0, 1)
    for number in range(5000):
        pace.take(f"10.0.0.{number}")
        pass_time(0.01)
    assert len(pace._due_s) <= 1024


async def test_who_calls_too_often_is_told_the_limit_and_when_to_come_back(
    control: MemoryControl, socket_path: Path
) -> None:
    async with limited(control, socket_path, calls_per_second=0.5, calls_at_once=2) as client:
        assert [(await client.call("GET", "/v1/hosts"))[0] for _ in range(2)] == [200, 200]
        async with client.session.get("/v1/hosts") as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "2"
            error = (await response.json())["error"]
    assert (error["code"], error["message"]) == ("too_many", "more than 0.5 calls a second: try again in 2 s")


async def test_event_streams_are_counted_and_given_back(control: MemoryControl, socket_path: Path) -> None:
    async with limited(control, socket_path, streams=1) as client:
        async with client.session.get("/v1/events") as first:
            assert first.status == 200
            status, code, message = await client.refused("GET", "/v1/events")
            assert (status, code, message) == (
                429,
                "too_many",
                "more than 1 event streams at the same time: try again in 1 s",
            )
        control.notify("host", "so that the daemon sees that nobody listens")
        async with asyncio.timeout(5):
            while True:
                async with client.session.get("/v1/events") as again:
                    if again.status == 200:
                        break
                control.notify("host", "still nobody")
                await asyncio.sleep(0.01)


async def test_a_body_that_does_not_come_is_not_waited_for(control: MemoryControl, socket_path: Path) -> None:
    async with limited(control, socket_path, body_seconds=0.05):
        reader, writer = await asyncio.open_unix_connection(socket_path)
        writer.write(b"POST /v1/migrations HTTP/1.1\r\nHost: d\r\nContent-Length: 100\r\n\r\n{")
        assert await reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
        writer.close()
        await writer.wait_closed()
    assert control.requested == []


async def test_headers_that_do_not_come_are_not_waited_for(control: MemoryControl, socket_path: Path) -> None:
    async with serve_api(create_app(control), socket_path, limits=ConnectionLimits(idle_seconds=0.05)):
        reader, writer = await asyncio.open_unix_connection(socket_path)
        writer.write(b"GET /v1/hosts HTTP/1.1\r\nHost: d\r\nX-Slow: ")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_connections_beyond_the_most_are_hung_up(control: MemoryControl, socket_path: Path) -> None:
    async with serve_api(create_app(control), socket_path, limits=ConnectionLimits(connections=2)):
        held = [await asyncio.open_unix_connection(socket_path) for _ in range(3)]
        async with asyncio.timeout(5):
            assert await held[2][0].read() == b""
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(5):
            while True:
                reader, writer = await asyncio.open_unix_connection(socket_path)
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
                writer.close()
                await writer.wait_closed()
                if answer:
                    break
    assert answer.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: d\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: d\r\nX: " + b"x" * 10_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: d\r\n" + b"X: x\r\n" * 200 + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_no_proper_http_is_refused_and_shows_nothing(
    control: MemoryControl, socket_path: Path, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve_api(create_app(control), socket_path):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(raw, str(socket_path))
            await loop.sock_sendall(raw, sent)
            async with asyncio.timeout(5):
                answer = await loop.sock_recv(raw, 65536)
    assert b" 400 Bad Request\r\n" in answer
    assert b'{"error": {"code": "invalid", "message": "not understood: ' in answer
    assert caplog.records == []
    for word in (b"Traceback", b"aiohttp", b"Python", str(socket_path.parent).encode()):
        assert word not in answer
