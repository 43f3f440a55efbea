"""One open connection to one host's libvirt for observing, from its opening to its loss.

A session has threads of its own, and so a host that hangs delays no other; no call is given to it any more once it is
lost. Blocking calls never wait longer than their limit, though the thread that runs one may.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ..cluster.ports import BusyError, UnreachableError
from .binding import Connection, LibvirtError, libvirt
from .errors import translate
from .events import RawEvent, register
from .inventory import Inventory
from .pump import close_connection, open_connection
from .workers import Workers

Result = TypeVar("Result")

HOST_CALL_TIMEOUT_S = 10.0
"""For calls that wait for no domain: a host that does not answer them hangs."""
DOMAIN_CALL_TIMEOUT_S = 15.0
"""For calls that may wait for one domain; longer than keepalive needs, so that a frozen host is not blamed on it."""

_THREADS = 3
"""libvirtd serves 5 requests of one connection at a time by default and counts keepalive packets among them."""
_DOMAIN_CALLS = 2
"""So that domains that do not answer always leave a thread for the host's own calls."""

_CLOSE_REASONS = {
    libvirt.VIR_CONNECT_CLOSE_REASON_ERROR: "connection lost",
    libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "libvirtd closed the connection",
    libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "libvirtd does not answer (keepalive)",
    libvirt.VIR_CONNECT_CLOSE_REASON_CLIENT: "connection closed",
}


@dataclass(frozen=True, slots=True)
class Opened:
    """What opening made: the connection and the ids of its event callbacks."""

    connection: Connection
    callbacks: list[int]

    def close(self) -> None:
        """Close for good; blocks while the host hangs. Every callback holds the connection open until removed."""
        with suppress(LibvirtError):
            self.connection.unregisterCloseCallback()
        for callback in self.callbacks:
            with suppress(LibvirtError):
                self.connection.domainEventDeregisterAny(callback)
        close_connection(self.connection)


def open_observing(uri: str, deliver: Callable[[RawEvent], None], closed: Callable[[str], None]) -> Opened:
    """Open `uri` with keepalive, close callback and events. Blocks; both callbacks run in the pump's thread."""
    connection = open_connection(uri)
    with suppress(LibvirtError):
        connection.registerCloseCallback(
            lambda _connection, reason, _opaque: closed(_CLOSE_REASONS.get(reason, "connection lost")), None
        )
    return Opened(connection, register(connection, deliver))


class Session:
    """An open connection and the threads that may use it.

    `lost` is done, with the reason, once the connection is of no use any more.
    """

    def __init__(self, host: str, opened: Opened, workers: Workers, inventory: Inventory) -> None:
        self.inventory = inventory
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._host = host
        self._opened = opened
        self._workers = workers
        self._domain_slots = asyncio.Semaphore(_DOMAIN_CALLS)

    def lose(self, reason: str) -> None:
        """Take no more calls; the first reason counts."""
        if not self.lost.done():
            self.lost.set_result(reason)

    async def host_call(self, call: Callable[[Connection], Result]) -> Result:
        """Run a call that waits for no domain. Raises the port's errors; without an answer the host is lost."""
        try:
            return await self._run(call, HOST_CALL_TIMEOUT_S)
        except TimeoutError:
            reason = f"libvirtd did not answer within {HOST_CALL_TIMEOUT_S:.0f} s"
            self.lose(reason)
            raise UnreachableError(self._host, reason) from None

    async def domain_call(self, call: Callable[[Connection], Result]) -> Result:
        """Run a call that may wait for one domain. Raises the port's errors, BusyError for want of an answer."""
        try:
            async with asyncio.timeout(DOMAIN_CALL_TIMEOUT_S):
                await self._domain_slots.acquire()
            # Held for as long as the thread is, which may be longer than the caller waits.
            return await self._run(call, DOMAIN_CALL_TIMEOUT_S, self._domain_slots.release)
        except TimeoutError:
            raise BusyError(self._host, f"the domain did not answer within {DOMAIN_CALL_TIMEOUT_S:.0f} s") from None

    def close(self) -> None:
        """Take no more calls, and close the connection when those under way have come back."""
        self.lose("connection closed")
        self._workers.stop(self._opened.close)

    async def _run(
        self, call: Callable[[Connection], Result], timeout_s: float, done: Callable[[], None] | None = None
    ) -> Result:
        answer = asyncio.wrap_future(self._submit(call))
        answer.add_done_callback(_retrieve)
        if done is not None:
            answer.add_done_callback(lambda _: done())
        either: set[asyncio.Future[Any]] = {answer, self.lost}
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return self._result(answer)
        if self.lost.done():
            raise UnreachableError(self._host, self.lost.result())
        raise TimeoutError

    def _submit(self, call: Callable[[Connection], Result]) -> Future[Result]:
        if self.lost.done():
            raise UnreachableError(self._host, self.lost.result())
        host, connection = self._host, self._opened.connection
        return self._workers.submit(lambda: run_translated(host, connection, call))

    def _result(self, answer: "asyncio.Future[Result]") -> Result:
        try:
            return answer.result()
        except UnreachableError as error:
            self.lose(error.text)
            raise


def run_translated(host: str, connection: Connection, call: Callable[[Connection], Result]) -> Result:
    """Run `call`, raising the port's error for libvirt's.

    The error is raised after libvirt's has been let go: its traceback holds domains, and these the connection open.
    """
    try:
        return call(connection)
    except LibvirtError as error:
        failure = translate(host, error, connection)
    raise failure


def _retrieve(answer: "asyncio.Future[Any]") -> None:
    """Take note of the error of a call whose caller has gone."""
    if not answer.cancelled():
        answer.exception()
