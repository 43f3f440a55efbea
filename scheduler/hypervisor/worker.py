"""A thread for blocking libvirt calls, and one with a connection of its own.

Not concurrent.futures' pool: that one joins its threads when the interpreter exits, and a call to a frozen libvirtd
may never return. These threads are daemons and can be left behind.

A connection is only ever used by one thread. libvirt before 10.4 (CVE-2024-4418) may follow a pointer into another
thread's stack when several wait for answers on one connection, and most likely when it breaks: the process dies of it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from .binding import Connection, LibvirtError
from .errors import translate
from .pump import close_connection, open_connection

Result = TypeVar("Result")


class Worker:
    """A daemon thread that runs calls in the order given."""

    def __init__(self, name: str) -> None:
        self._last: Callable[[], None] | None = None
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Run `call` in the thread. Cancelling the future stops it only while it waits for its turn."""
        future: Future[Result] = Future()
        self._calls.put((future, call))
        return future

    def stop(self, last: Callable[[], None] | None = None) -> None:
        """End the thread once it is done with the calls given so far, and with `last`, when that is."""
        self._last = last
        self._calls.put(None)

    async def stopped(self, timeout_s: float) -> bool:
        """Whether the thread has ended, after at most `timeout_s`."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self._thread.is_alive():
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
        if self._last is not None:
            self._last()


class Line(Worker):
    """A thread with a connection of its own, opened at the first call that needs it and closed at the end."""

    def __init__(self, name: str, host: str, uri: str) -> None:
        self._host = host
        self._uri = uri
        self._connection: Connection | None = None
        super().__init__(name)

    def call(self, call: Callable[[Connection], Result]) -> Future[Result]:
        """Run `call` with the connection; raises the port's errors."""
        return self.submit(lambda: run_translated(self._host, self._connected(), call))

    def close(self) -> None:
        """End the thread, and with it the connection, once it is done with the calls given so far."""
        self.stop(self._disconnect)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = open_translated(self._host, self._uri)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            close_connection(self._connection)


def open_translated(host: str, uri: str) -> Connection:
    """Open `uri`, raising the port's error for libvirt's."""
    try:
        return open_connection(uri)
    except LibvirtError as error:
        failure = translate(host, error)
    raise failure


def run_translated(host: str, connection: Connection, call: Callable[[Connection], Result]) -> Result:
    """Run `call`, raising the port's error for libvirt's.

    The error is raised after libvirt's has been let go: its traceback holds domains, and these the connection open.
    """
    try:
        return call(connection)
    except LibvirtError as error:
        failure = translate(host, error, connection)
    raise failure


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - handed to whoever waits
        future.set_exception(error)
    else:
        future.set_result(result)
