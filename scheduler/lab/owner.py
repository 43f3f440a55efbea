"""Who a lab belongs to: when that process is dead, the lab is a leftover."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told by its start time from a later one with the same id."""

    pid: int
    started: str

    @classmethod
    def this_process(cls) -> Owner:
        """The calling process."""
        return cls(os.getpid(), _start_time(os.getpid()))

    def alive(self) -> bool:
        """Whether it still runs."""
        return _start_time(self.pid) == self.started


def _start_time(pid: int) -> str:
    """Clock ticks since boot at which the process began; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""
