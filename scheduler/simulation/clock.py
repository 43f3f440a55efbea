"""A clock that stands still until it is told to move, and then wakes the sleepers in order."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

T = TypeVar("T")

QUIET_TURNS = 25
"""Turns of the loop without anybody busy after which all tasks are taken to wait. The longest chain of wake-ups in the
tests takes 7."""


class ManualClock:
    """Monotonic and wall time that move together, only by `advance` and `run`.

    `busy` tells of work outside the loop (a thread that writes the journal) that must end before time may move on;
    without it tests would depend on how fast the disk is.
    """

    def __init__(self, *, wall: float = 1_800_000_000.0, busy: Callable[[], bool] = lambda: False) -> None:
        self.busy = busy
        self._now_s = 0.0
        self._wall_offset_s = wall
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._now_s

    def wall(self) -> float:
        """Unix seconds."""
        return self._wall_offset_s + self._now_s

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP would."""
        self._wall_offset_s += seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved that far."""
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + max(seconds, 0.0), next(self._order), waking))
        await waking

    async def settle(self) -> None:
        """Let every task run until all of them wait for something."""
        quiet = 0
        while quiet < QUIET_TURNS:
            await asyncio.sleep(0)
            quiet = 0 if self.busy() else quiet + 1

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, stopping at every moment at which somebody wakes."""
        end_s = self._now_s + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            await self._wake_next()
        self._now_s = end_s
        await self.settle()

    async def run(self, work: Awaitable[T], *, limit_seconds: float = 86_400.0) -> T:
        """Move on as far as `work` needs to end, and return what it returns; TimeoutError past the limit."""
        task = asyncio.ensure_future(work)
        end_s = self._now_s + limit_seconds
        await self.settle()
        while not task.done():
            if not self._sleepers or self._sleepers[0][0] > end_s:
                task.cancel()
                raise TimeoutError("it waits for something that no passing of time brings")
            await self._wake_next()
        return await task

    async def _wake_next(self) -> None:
        """Wake all who wake at the next moment at which anybody does."""
        wake_at_s, woken = self._sleepers[0][0], False
        while self._sleepers and self._sleepers[0][0] == wake_at_s:
            _, _, waking = heapq.heappop(self._sleepers)
            if not waking.done():
                self._now_s = max(self._now_s, wake_at_s)
                waking.set_result(None)
                woken = True
        if woken:
            await self.settle()
