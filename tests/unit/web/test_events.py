import asyncio
import json
import socket
from pathlib import Path

import aiohttp
from structlog.testing import capture_logs

from scheduler.web.app import create_app
from scheduler.web.server import serve_api

from .memory import Client, MemoryControl


async def read_event(response: aiohttp.ClientResponse) -> dict[str, str]:
    """The next event's fields, heartbeats skipped."""
    event: dict[str, str] = {}
    while True:
        line = (await response.content.readline()).decode().rstrip("\n")
        if not line and event:
            return event
        if line and not line.startswith(":"):
            key, _, value = line.partition(": ")
            event[key] = value


async def test_notices_are_told_as_they_happen(client: Client, control: MemoryControl) -> None:
    control.notify("host", "before anyone listened")
    async with client.session.get("/v1/events") as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert (await response.content.readline()).startswith(b":")
        control.notify("migration", "web1 is on its way to node2")
        event = await read_event(response)
    assert (event["id"], event["event"]) == ("2", "migration")
    assert json.loads(event["data"]) == {
        "id": 2,
        "at": 100.0,
        "kind": "migration",
        "text": "web1 is on its way to node2",
        "data": {"vm": "web1"},
    }


async def test_reader_that_comes_back_gets_what_it_missed(client: Client, control: MemoryControl) -> None:
    for number in (1, 2, 3):
        control.notify("host", f"event {number}")
    async with client.session.get("/v1/events", headers={"Last-Event-ID": "1"}) as response:
        assert [(await read_event(response))["id"] for _ in range(2)] == ["2", "3"]


async def test_quiet_stream_shows_that_it_lives(client: Client) -> None:
    async with client.session.get("/v1/events") as response:
        lines = [await response.content.readline() for _ in range(6)]
    assert lines == [b": still here\n", b"\n"] * 3


async def test_last_event_that_is_no_number_is_refused(client: Client) -> None:
    for text in ("x", "-1", "1" * 30):
        status, code, message = await client.refused("GET", "/v1/events", headers={"Last-Event-ID": text})
        assert (status, code) == (400, "invalid")
        assert message.startswith("Last-Event-ID: ")


async def test_reader_that_does_not_read_is_dropped(control: MemoryControl, socket_path: Path) -> None:
    with capture_logs() as logs:
        async with serve_api(create_app(control, stall_seconds=0.05), socket_path):
            with socket.socket(socket.AF_UNIX) as lazy:
                lazy.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(lazy, str(socket_path))
                await loop.sock_sendall(lazy, b"GET /v1/events HTTP/1.1\r\nHost: scheduler\r\n\r\n")
                assert (await loop.sock_recv(lazy, 12)) == b"HTTP/1.1 200"
                await asyncio.sleep(0.01)
                for _ in range(20):
                    control.notify("decision", "x" * 100_000)
                async with asyncio.timeout(5):
                    while not logs:  # noqa: ASYNC110 (captured logs have no event to wait for)
                        await asyncio.sleep(0.01)
    assert (logs[0]["event"], logs[0]["log_level"]) == ("event_stream_dropped", "warning")
