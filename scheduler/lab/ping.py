"""A ping that runs beside what happens, and is counted at the end."""

from __future__ import annotations

import re
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUMMARY = re.compile(r"(\d+) packets transmitted, (\d+) received")
_END_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class PingCount:
    """Echo requests sent and answered."""

    sent: int
    received: int


class Ping:
    """`command` is a ping without an end; it starts at once."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def stop(self) -> PingCount:
        """End it; LabError when it did not count."""
        self._process.send_signal(signal.SIGINT)
        try:
            printed, _ = self._process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            printed, _ = self._process.communicate()
        counted = _SUMMARY.search(printed)
        if counted is None:
            raise LabError(f"ping told no count: {printed.strip()[-200:]}")
        return PingCount(int(counted[1]), int(counted[2]))
