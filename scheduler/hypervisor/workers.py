"""Threads for blocking libvirt calls.

Not concurrent.futures' pool: that one joins its threads when the interpreter exits, and a call to a frozen libvirtd
may never return. These threads are daemons and can be left behind.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

Result = TypeVar("Result")


class Workers:
    """`count` daemon threads that run calls in the order given."""

    def __init__(self, name: str, count: int) -> None:
        self._working = count
        self._lock = Lock()
        self._last: Callable[[], None] | None = None
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads = [Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Run `call` in one of the threads. Cancelling the future stops it only while it waits for a thread."""
        future: Future[Result] = Future()
        self._calls.put((future, call))
        return future

    def stop(self, last: Callable[[], None] | None = None) -> None:
        """End each thread once it is done with the calls given so far; the last to end runs `last`, when that is."""
        self._last = last
        for _ in self._threads:
            self._calls.put(None)

    async def stopped(self, timeout_s: float) -> bool:
        """Whether all threads have ended, after at most `timeout_s`."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while any(thread.is_alive() for thread in self._threads):
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(0.002)
        return True

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                _run(future, call)
            # A waiting thread must not keep alive what it worked on: libvirt objects hold connections open.
            del item, future, call
        with self._lock:
            self._working -= 1
            ended = self._working == 0
        if ended and self._last is not None:
            self._last()


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - handed to whoever waits
        future.set_exception(error)
    else:
        future.set_result(result)
