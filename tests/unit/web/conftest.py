from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler.web.app import create_app
from scheduler.web.server import serve_api

from .memory import Client, MemoryControl


@pytest.fixture
def control() -> MemoryControl:
    return MemoryControl()


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "api.sock"


@pytest.fixture
async def client(control: MemoryControl, socket_path: Path) -> AsyncIterator[Client]:
    """A client of `control`, served as in production but with a short heartbeat."""
    async with serve_api(create_app(control, heartbeat_seconds=0.02), socket_path):
        client = Client(socket_path)
        async with client.session:
            yield client
