"""Threads for what takes long to think out, so that the loop goes on hearing events, hosts and people meanwhile."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

Cancelled = Callable[[], bool]
"""Whether nobody waits for the work any more; asked again and again by what takes long."""


class Worker:
    """Runs pure functions. One that is called while all threads are taken waits for its turn."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._asked = 0

    @property
    def busy(self) -> bool:
        """Whether anything is being worked on."""
        return self._asked > 0

    async def run(self, work: Callable[[Cancelled], T]) -> T:
        """What `work` returns. Cancelling this tells the work so, and the thread is free when that has heard it."""
        called_off = threading.Event()
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, called_off.is_set)
        finally:
            called_off.set()
            self._asked -= 1

    def close(self) -> None:
        """No more work; the caller has cancelled what was asked for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
