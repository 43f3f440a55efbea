"""Bars for migrations on a terminal."""

import io

from rich.console import Console

from scheduler.cli.client import Record
from scheduler.cli.present import forecast
from scheduler.cli.progress import bars


def record(**changes: object) -> Record:
    base = {"id": 1, "vm": "web1", "source": "node1", "destination": "node2", "state": "queued", "progress_ratio": None}
    return {**base, **changes}


def test_each_migration_has_a_bar_that_follows_it() -> None:
    out = io.StringIO()
    with bars(Console(file=out, force_terminal=True, width=80)) as tell:
        tell(record())
        tell(record(id=2, vm="web2"))
        tell(record(state="migrating", progress_ratio=0.5))
        tell(record(state="completed"))
    drawn = out.getvalue().splitlines()
    assert "web1 node1 -> node2  completed" in next(line for line in reversed(drawn) if "web1" in line)
    assert "web2 node1 -> node2  queued" in next(line for line in reversed(drawn) if "web2" in line)


def test_a_forecast_tells_what_is_known():
    assert forecast(3.04, 210.4, 1030.0) == "3.0 s, 210 ms of it standing still, 1,030 MiB sent"
    assert forecast(3.0, 0.2, None) == "3.0 s"
    assert forecast(3.0, 0.0, 96.0, "post_copy") == "3.0 s, 96 MiB sent, ends by post_copy"
    assert forecast(3.0, None, 96.0) == "3.0 s, 96 MiB sent"
