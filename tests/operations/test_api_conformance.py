"""The API beside its own description: schemathesis asks a live daemon, over TLS with a token, all that it can think of.

The daemon is the real one, on simulated hosts; the answers are held to the OpenAPI document that it serves itself.
"""

import asyncio
import os
import sys
from pathlib import Path

from scheduler.daemon.daemon import Daemon
from scheduler.daemon.waiting import end
from scheduler.operations.access import Role

from .api_daemon import served

ROOT = Path(__file__).parents[2]
SETTINGS = Path(__file__).with_name("schemathesis.toml")


async def chatter(daemon: Daemon) -> None:
    """Something happens all the time, so that nobody waits for it at the event stream."""
    while True:
        daemon.notices.publish("host", "node1 answers", host="node1", reachable=True)
        await asyncio.sleep(0.02)


async def test_every_answer_is_as_the_openapi_document_says(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        talking = asyncio.create_task(chatter(api.daemon))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", f"--config-file={SETTINGS}", "run", f"{api.url}/v1/openapi.json",
            f"--header=Authorization: Bearer {api.tokens[Role.ADMIN]}", f"--tls-verify={api.authority.ca}",
            "--no-color", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        told, _ = await process.communicate()
        await end(talking)
    assert process.returncode == 0, told.decode()
