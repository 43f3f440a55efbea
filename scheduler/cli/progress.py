"""Watching migrations until they end: bars on a terminal, a line for each change in a pipe."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .client import Api, Record, at

if TYPE_CHECKING:
    from rich.console import Console

FINAL_STATES = frozenset({"completed", "failed", "aborted", "unknown"})
_MAX_POLL_SECONDS = 0.5

Tell = Callable[[Record], None]


def follow(api: Api, migrations: list[Record], *, quiet: bool) -> list[Record]:
    """Wait until all have ended, showing how far they are; returns them as they ended."""
    latest = {record["id"]: record for record in migrations}
    with _telling(quiet=quiet) as tell:
        for record in migrations:
            tell(record)
        for _ in looks():
            running = [number for number, record in latest.items() if record["state"] not in FINAL_STATES]
            if not running:
                break
            for number in running:
                latest[number] = api.get(at("migrations", number))
                tell(latest[number])
    return list(latest.values())


def looks() -> Iterator[None]:
    """One item for each look at what is under way: at first often, so that what is quick is told quickly."""
    pause = 0.02
    while True:
        yield
        time.sleep(pause)
        pause = min(pause * 1.5, _MAX_POLL_SECONDS)


def _silence(_record: Record) -> None:
    """For JSON: nothing but the answer is printed."""


@contextmanager
def _telling(*, quiet: bool) -> Iterator[Tell]:
    """How a record's new state is told, as long as the context lasts."""
    if quiet:
        yield _silence
    elif sys.stdout.isatty():
        from rich.console import Console

        with bars(Console()) as tell:
            yield tell
    else:
        yield _Lines()


@contextmanager
def bars(console: "Console") -> Iterator[Tell]:
    """A bar for each migration, on a terminal."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bars: dict[int, TaskID] = {}

        def tell(record: Record) -> None:
            number = record["id"]
            if number not in bars:
                bars[number] = progress.add_task("", total=1.0)
            done = 1.0 if record["state"] == "completed" else record["progress_ratio"] or 0.0
            progress.update(bars[number], description=f"{way(record)}  {record['state']}", completed=done)

        yield tell


class _Lines:
    """Prints a record when its state has changed."""

    def __init__(self) -> None:
        self._told: dict[int, str] = {}

    def __call__(self, record: Record) -> None:
        if record["state"] not in FINAL_STATES and self._told.get(record["id"]) != record["state"]:
            click.echo(f"{way(record)}: {record['state']}")
        self._told[record["id"]] = record["state"]


def way(record: Record) -> str:
    """`web1 node1 -> node2`."""
    return f"{record['vm']} {record['source']} -> {record['destination'] or '?'}"


def outcome(record: Record) -> str:
    """How a migration ended or stands, in one sentence."""
    from .present import percent, seconds

    match record["state"]:
        case "completed":
            downtime = f", {record['downtime_ms']} ms of it standing still" if record["downtime_ms"] is not None else ""
            guess = f" ({seconds(record['predicted_seconds'])} predicted)" if record["predicted_seconds"] else ""
            return f"{way(record)}: completed in {seconds(record['duration_seconds']) or '?'}{guess}{downtime}"
        case "failed" | "aborted" | "unknown":
            return f"{way(record)}: {record['state']}" + (f": {record['error']}" if record["error"] else "")
        case state:
            done = f", {percent(record['progress_ratio'])} done" if record["progress_ratio"] is not None else ""
            return f"{way(record)}: {state}{done}"
