"""What Prometheus itself says about a scrape."""

import shutil
import subprocess

import aiohttp
import pytest

from scheduler.web.server import serve_metrics
from tests.unit.web.memory import MemoryControl
from tests.unit.web.observed import busy_metrics

PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is in the Debian package prometheus")
async def test_promtool_finds_nothing_to_say_about_a_full_scrape() -> None:
    metrics = busy_metrics(MemoryControl())
    async with (
        serve_metrics(metrics.registry, "127.0.0.1", 0) as (host, port),
        aiohttp.request("GET", f"http://{host}:{port}/metrics") as response,
    ):
        scrape = await response.read()
    assert scrape.count(b"# HELP") > 30
    lint = subprocess.run(  # noqa: ASYNC221 (nothing else runs on this loop)
        [str(PROMTOOL), "check", "metrics"], input=scrape, capture_output=True, check=False, timeout=30
    )
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, b"", b"")
