"""One host's observing connection, kept open across failures."""

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import Future

from ..cluster.observation import Event, EventKind
from ..cluster.ports import HostAddress, UnreachableError
from .events import RawEvent, Translator
from .inventory import Inventory
from .session import Opened, Session, open_observing
from .worker import Worker

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 15.0
OPEN_TIMEOUT_S = 10.0
PATIENCE_S = 60.0
"""Nothing can interrupt a call that hangs. Whatever makes it come back is most often what brings the host back too, so
it is waited for; only after this time a new connection is tried and the hanging one left behind, thread and all."""
MAX_PATIENCE_S = 3600.0
"""Patience doubles each time, so that a host that hangs for days costs a few dozen threads and not thousands."""
CLOSE_TIMEOUT_S = 2.0


class HostConnection:
    """Keeps a session to one host, tells of its events, its loss and its return."""

    def __init__(
        self, address: HostAddress, new_inventory: Callable[[], Inventory], emit: Callable[[Event], None]
    ) -> None:
        self.address = address
        self._new_inventory = new_inventory
        self._emit_event = emit
        self._session: Session | None = None
        self._attempt: _Attempt | None = None
        self._unreachable_because = "not connected yet"
        self._told_lost = False
        self._patience_s = PATIENCE_S
        self._task = asyncio.create_task(self._keep_connected(), name=f"libvirt {address.name}")

    @property
    def session(self) -> Session:
        """The open session; UnreachableError, at once, when there is none."""
        if self._session is None or self._session.lost.done():
            raise UnreachableError(self.address.name, self._unreachable_because)
        return self._session

    @property
    def shared_pools(self) -> frozenset[str]:
        """The host's storage pools that other hosts see as well, as far as known."""
        return frozenset() if self._session is None else self._session.inventory.shared.pools

    def seen_incoming(self, uuids: frozenset[str]) -> None:
        """A look has shown these domains on their way to the host, and no others."""
        if self._attempt is not None:
            self._attempt.translator.seen_incoming = uuids

    async def close(self) -> None:
        """Let the host go; calls that hang are left to themselves after a moment."""
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._attempt is not None:
            await self._attempt.ended(CLOSE_TIMEOUT_S)

    async def _keep_connected(self) -> None:
        delay_s = FIRST_DELAY_S
        while True:
            self._attempt = _Attempt(self.address, self._new_inventory(), self._on_event)
            session = await self._await_opening(self._attempt)
            if session is not None:
                delay_s = FIRST_DELAY_S
                await self._hold(session)
                if await self._attempt.ended(self._patience_s):
                    self._patience_s = PATIENCE_S
                else:
                    self._lose_patience()
            # Full jitter's lower half is left out: many daemons and hosts still spread, and none hurries.
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads load
            delay_s = min(2 * delay_s, MAX_DELAY_S)

    async def _await_opening(self, attempt: "_Attempt") -> Session | None:
        try:
            session = await attempt.opened(OPEN_TIMEOUT_S)
            if session is None:
                self._tell_lost(f"libvirtd did not answer within {OPEN_TIMEOUT_S:.0f} s")
                # It may yet: then this same attempt is the quickest way back.
                session = await attempt.opened(self._patience_s)
        except UnreachableError as error:
            self._tell_lost(error.text)
            return None
        except asyncio.CancelledError:
            attempt.abandon()
            raise
        if session is None:
            attempt.abandon()
            self._lose_patience()
        return session

    async def _hold(self, session: Session) -> None:
        self._session = session
        self._told_lost = False
        self._emit(EventKind.CONNECTED)
        try:
            reason = await asyncio.shield(session.lost)
            self._tell_lost(reason)
        finally:
            self._session = None
            session.close()

    def _lose_patience(self) -> None:
        self._patience_s = min(2 * self._patience_s, MAX_PATIENCE_S)

    def _tell_lost(self, reason: str) -> None:
        self._unreachable_because = reason
        if not self._told_lost:
            self._told_lost = True
            self._emit(EventKind.DISCONNECTED, detail=reason)

    def _on_event(self, raw: RawEvent, kind: EventKind, detail: str) -> None:
        self._emit(kind, detail, raw)

    def _emit(self, kind: EventKind, detail: str = "", raw: RawEvent | None = None) -> None:
        self._emit_event(
            Event(
                host=self.address.name,
                kind=kind,
                monotonic_s=time.monotonic(),
                uuid="" if raw is None else raw.uuid,
                name="" if raw is None else raw.name,
                detail=detail,
                stats=None if raw is None else raw.stats,
            )
        )


class _Attempt:
    """One try to open a session, and the way its callbacks take to the asyncio loop.

    Callbacks may come before the session is there and after it was closed; the pump's thread only calls
    `call_soon_threadsafe`.
    """

    def __init__(
        self,
        address: HostAddress,
        inventory: Inventory,
        on_event: Callable[[RawEvent, EventKind, str], None],
    ) -> None:
        self._address = address
        self._on_event = on_event
        self.translator = Translator()
        self._inventory = inventory
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._lost: str | None = None
        self._worker = Worker(f"libvirt-{address.name}")
        self._opening: Future[Opened] = self._worker.submit(self._open)
        self._opened = asyncio.wrap_future(self._opening)

    async def opened(self, timeout_s: float) -> Session | None:
        """The session; None when it is not open after `timeout_s`. Raises UnreachableError."""
        await asyncio.wait({self._opened}, timeout=timeout_s)
        if not self._opened.done():
            return None
        try:
            opened = self._opened.result()
        except UnreachableError:
            self._worker.stop()
            raise
        self._session = Session(self._address, opened, self._worker, self._inventory)
        if self._lost is not None:
            self._session.lose(self._lost)
        return self._session

    def abandon(self) -> None:
        """Wait no more. Should the open succeed after all, its connection is closed at once."""
        self._worker.stop(self._close_opened)

    async def ended(self, timeout_s: float) -> bool:
        """Whether its threads have ended, and with them the connections, after at most `timeout_s`."""
        return await (self._worker.stopped(timeout_s) if self._session is None else self._session.ended(timeout_s))

    def _open(self) -> Opened:
        return open_observing(self._address, self._deliver, self._closed)

    def _close_opened(self) -> None:
        if not self._opening.cancelled() and self._opening.exception() is None:
            self._opening.result().close()

    def _deliver(self, raw: RawEvent) -> None:
        self._hand_over(self._take, raw)

    def _closed(self, reason: str) -> None:
        self._hand_over(self._lose, reason)

    def _hand_over(self, call: Callable[..., None], argument: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, argument)
        except RuntimeError:
            return  # the loop is closed: nobody is interested any more

    def _take(self, raw: RawEvent) -> None:
        self._inventory.touch(raw.uuid)
        if self._session is not None and self._session.lost.done():
            return
        translated = self.translator.translate(raw)
        if translated is not None:
            self._on_event(raw, *translated)

    def _lose(self, reason: str) -> None:
        self._lost = reason
        if self._session is not None:
            self._session.lose(reason)
