"""What the daemon holds of the machine: a leak is growth over a life of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MOST_THREADS = 8
MOST_FILES = 12
MOST_MIB = 24.0
"""Growth that is none: executors and caches fill, connections are being made anew."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of one process at one moment."""

    threads: int
    files: int
    rss_mib: float

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """Of the process `pid` now."""
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        return cls(int(status["Threads"]), files, int(status["VmRSS"].split()[0]) / 1024)

    def grown_since(self, before: Footprint) -> Footprint:
        """The difference."""
        return Footprint(self.threads - before.threads, self.files - before.files, self.rss_mib - before.rss_mib)

    @property
    def leaks(self) -> bool:
        """Whether a growth is more than comes and goes."""
        return self.threads > MOST_THREADS or self.files > MOST_FILES or self.rss_mib > MOST_MIB
