"""What is open to one host's libvirt for observing, from its opening to its loss.

A session has threads of its own, and so a host that hangs delays no other; each has its own connection. No call is
given to it any more once it is lost. Blocking calls never wait longer than their limit, though their thread may.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ..cluster.ports import BusyError, HostAddress, UnreachableError
from .binding import Connection, LibvirtError, libvirt
from .events import RawEvent, register
from .inventory import Inventory
from .pump import close_connection
from .worker import Line, Worker, open_translated, run_translated

Result = TypeVar("Result")

HOST_CALL_TIMEOUT_S = 10.0
"""For calls that wait for no domain: a host that does not answer them hangs."""
DOMAIN_CALL_TIMEOUT_S = 15.0
"""For calls that may wait for one domain; longer than keepalive needs, so that a frozen host is not blamed on it."""

_DOMAIN_LINES = 2
"""Calls that may wait for one domain: beside those of the host, which domains that do not answer must not hold up."""

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


def open_observing(address: HostAddress, deliver: Callable[[RawEvent], None], closed: Callable[[str], None]) -> Opened:
    """Open with keepalive, close callback and events. Blocks; both callbacks run in the pump's thread.

    Raises UnreachableError.
    """
    connection = open_translated(address.name, address.uri)
    with suppress(LibvirtError):
        connection.registerCloseCallback(
            lambda _connection, reason, _opaque: closed(_CLOSE_REASONS.get(reason, "connection lost")), None
        )
    return Opened(connection, register(connection, deliver))


class Session:
    """An open connection with the thread that uses it, and lines for calls that may wait for a domain.

    `lost` is done, with the reason, once the connection is of no use any more.
    """

    def __init__(self, address: HostAddress, opened: Opened, worker: Worker, inventory: Inventory) -> None:
        self.inventory = inventory
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._host = address.name
        self._opened = opened
        self._worker = worker
        self._lines = [Line(f"libvirt-{address.name}-{n}", address.name, address.uri) for n in range(_DOMAIN_LINES)]
        self._idle_lines: asyncio.LifoQueue[Line] = asyncio.LifoQueue()
        for line in self._lines:
            self._idle_lines.put_nowait(line)

    def lose(self, reason: str) -> None:
        """Take no more calls; the first reason counts."""
        if not self.lost.done():
            self.lost.set_result(reason)

    async def host_call(self, call: Callable[[Connection], Result]) -> Result:
        """Run a call that waits for no domain. Raises the port's errors; without an answer the host is lost."""
        self._refuse_when_lost()
        host, connection = self._host, self._opened.connection
        running = self._worker.submit(lambda: run_translated(host, connection, call))
        try:
            return await self._answer(asyncio.wrap_future(running), HOST_CALL_TIMEOUT_S)
        except TimeoutError:
            reason = f"libvirtd did not answer within {HOST_CALL_TIMEOUT_S:.0f} s"
            self.lose(reason)
            raise UnreachableError(self._host, reason) from None

    async def domain_call(self, call: Callable[[Connection], Result]) -> Result:
        """Run a call that may wait for one domain. Raises the port's errors, BusyError for want of an answer."""
        self._refuse_when_lost()
        try:
            async with asyncio.timeout(DOMAIN_CALL_TIMEOUT_S):
                line = await self._idle_lines.get()
            # Taken for as long as its thread is, which may be longer than the caller waits.
            answer = asyncio.wrap_future(line.call(call))
            answer.add_done_callback(lambda _: self._idle_lines.put_nowait(line))
            return await self._answer(answer, DOMAIN_CALL_TIMEOUT_S)
        except TimeoutError:
            raise BusyError(self._host, f"the domain did not answer within {DOMAIN_CALL_TIMEOUT_S:.0f} s") from None

    def close(self) -> None:
        """Take no more calls, and close the connections when those under way have come back."""
        self.lose("connection closed")
        self._worker.stop(self._opened.close)
        for line in self._lines:
            line.close()

    async def ended(self, timeout_s: float) -> bool:
        """Whether its threads have ended, and with them the connections, after at most `timeout_s`."""
        return all(await asyncio.gather(*(thread.stopped(timeout_s) for thread in (self._worker, *self._lines))))

    def _refuse_when_lost(self) -> None:
        if self.lost.done():
            raise UnreachableError(self._host, self.lost.result())

    async def _answer(self, answer: "asyncio.Future[Result]", timeout_s: float) -> Result:
        answer.add_done_callback(_retrieve)
        either: set[asyncio.Future[Any]] = {answer, self.lost}
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return self._result(answer)
        if self.lost.done():
            raise UnreachableError(self._host, self.lost.result())
        raise TimeoutError

    def _result(self, answer: "asyncio.Future[Result]") -> Result:
        try:
            return answer.result()
        except UnreachableError as error:
            self.lose(error.text)
            raise


def _retrieve(answer: "asyncio.Future[Any]") -> None:
    """Take note of the error of a call whose caller has gone."""
    if not answer.cancelled():
        answer.exception()
