"""A daemon whose cluster is in memory, served as in production, and the command as a process would call it."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result

from scheduler.cli.main import main
from scheduler.web.app import create_app
from scheduler.web.server import serve_api

from .memory import MovingControl


@dataclass(frozen=True)
class Command:
    """`virt-scheduler --socket SOCKET`, and what it prints on 80 columns."""

    socket: Path

    def __call__(self, *args: str | Path) -> Result:
        runner = CliRunner(env={"COLUMNS": "80", "VIRT_SCHEDULER_CONFIG": ""})
        result = runner.invoke(main, ["--socket", str(self.socket), *map(str, args)], prog_name="virt-scheduler")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def json(self, *args: str | Path) -> Any:
        """The answer as other tools get it."""
        result = self(*args, "--json")
        assert result.stderr == ""
        return json.loads(result.stdout)


@pytest.fixture
def control() -> MovingControl:
    return MovingControl()


@pytest.fixture
def virt_scheduler(control: MovingControl, tmp_path: Path) -> Iterator[Command]:
    """The command, with a daemon over `control` behind it in a thread of its own."""
    # The daemon of a test shares the process, and so the standard output, with the command.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    socket, ready = tmp_path / "api.sock", threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with serve_api(create_app(control, heartbeat_seconds=0.05), socket):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield Command(socket)
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()
    structlog.reset_defaults()


@pytest.fixture
def without_daemon(tmp_path: Path) -> Command:
    return Command(tmp_path / "nobody.sock")
