"""Time, as operations see it: passed in, so that tests own it."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What time it is, and waiting for it to pass."""

    def monotonic(self) -> float:
        """Seconds since some start; never jumps."""

    def wall(self) -> float:
        """Unix seconds, for people and for the journal; may jump."""

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""


class SystemClock:
    """The machine's own time."""

    def monotonic(self) -> float:
        """See Clock."""
        return time.monotonic()

    def wall(self) -> float:
        """See Clock."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(seconds)
