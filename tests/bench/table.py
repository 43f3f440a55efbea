"""What a benchmark prints: one table with the figure, what it should be, and the command that gave it."""

import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

COMMAND = (sys.executable, "-c", "from scheduler.cli.main import main; main()")


@dataclass
class Table:
    """Rows of text under a title."""

    title: str
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        self.rows.append(tuple(map(str, cells)))

    def show(self) -> None:
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        print(f"\n\n{self.title}")
        for row in self.rows:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


@dataclass(frozen=True)
class Timed:
    """A command that was run to its end."""

    line: str
    output: str
    seconds: float
    cpu_seconds: float
    peak_mib: int
    """The largest of all commands so far."""


def timed(*arguments: str | Path) -> Timed:
    """Run `virt-scheduler` as an operator would."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    line = " ".join(
        ["virt-scheduler", *(argument if isinstance(argument, str) else argument.name for argument in arguments)]
    )
    return Timed(line, done.stdout, seconds, cpu_seconds, after.ru_maxrss // 1024)
