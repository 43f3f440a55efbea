"""How things look: tables that fit a terminal and stay one line a row in a pipe, units, times."""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .client import Record

_STYLES = {
    "up": "green", "maintenance": "yellow", "unreachable": "red bold",
    "running": "green", "paused": "yellow",
    "completed": "green", "started": "green", "approved": "green",
    "yes": "green", "no": "red", "?": "yellow",
    "ok": "green", "warning": "yellow",
    "failed": "red", "refused": "red", "unknown": "red bold", "aborted": "yellow",
}  # fmt: skip
_UNKNOWN = "?"
_PIPE_WIDTH = 4096
"""In a pipe a row is a line, whatever its length."""


def console() -> Console:
    """Standard output, as wide as the terminal (or COLUMNS); no colours and no wrapping in a pipe."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)


def say(text: str) -> None:
    """One line or paragraph."""
    console().print(text, soft_wrap=not sys.stdout.isatty())


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings; a heading that begins with `>` is of numbers. Words for states have their colour."""
    shown = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        numbers = column.startswith(">")
        shown.add_column(
            column.removeprefix(">"), justify="right" if numbers else "left", no_wrap=numbers, overflow="fold"
        )
    for row in rows:
        shown.add_row(*(Text(str(cell), style=_STYLES.get(str(cell), "")) for cell in row))
    out = console()
    with out.capture() as captured:
        out.print(shown)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def mib(value: float | None) -> str:
    """Memory: `8,192`."""
    return _UNKNOWN if value is None else f"{value:,.0f}"


def cores(value: float | None) -> str:
    """CPU: `2.5`, small figures `0.05`."""
    if value is None:
        return _UNKNOWN
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def percent(ratio: float | None) -> str:
    """A ratio: `1.2 %`."""
    return _UNKNOWN if ratio is None else f"{ratio * 100:.1f} %"


def forecast(duration_s: float, downtime_ms: float | None, transferred_mib: float | None, helped_by: str = "") -> str:
    """What a migration is predicted to take: `3.1 s, 210 ms of it standing still, 1,030 MiB sent`."""
    told = [seconds(duration_s)]
    if downtime_ms is not None and downtime_ms >= 1:
        told.append(f"{downtime_ms:.0f} ms of it standing still")
    if transferred_mib is not None:
        told.append(f"{mib(transferred_mib)} MiB sent")
    if helped_by:
        told.append(f"ends by {helped_by}")
    return ", ".join(told)


def seconds(value: float | None) -> str:
    """A span: `8.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if value is None:
        return ""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(unix: float | None) -> str:
    """A time of today as `10:04:31`, an earlier one with its date; local time."""
    if unix is None:
        return ""
    then = datetime.fromtimestamp(unix).astimezone()
    today = datetime.fromtimestamp(time.time()).astimezone().date()
    return f"{then:%H:%M:%S}" if then.date() == today else f"{then:%Y-%m-%d %H:%M}"


def reasons(found: Iterable[Record]) -> str:
    """Why not, in one line."""
    return "; ".join(str(reason["text"]) for reason in found)
