"""The stream of what happens: a short memory, and everybody who listens."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from ..web.control import Notice

REMEMBERED = 1000
"""Notices a listener that reconnects can still get."""
BEHIND = 1000
"""A listener this far behind is let go; it reconnects with the last id it saw."""


class Notices:
    """Publishes notices to any number of listeners, none of which can hold up the others."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._memory: deque[Notice] = deque(maxlen=REMEMBERED)
        self._listeners: set[asyncio.Queue[Notice | None]] = set()
        self._next_id = 1
        self._closed = False

    def publish(self, kind: str, text: str, **data: object) -> None:
        """Tell everybody."""
        notice = Notice(id=self._next_id, at=self._wall_clock(), kind=kind, text=text, data=data)
        self._next_id += 1
        self._memory.append(notice)
        for queue in list(self._listeners):
            if queue.qsize() < BEHIND:
                queue.put_nowait(notice)
            else:
                self._listeners.discard(queue)
                queue.put_nowait(None)

    async def listen(self, after: int | None) -> AsyncIterator[Notice]:
        """What happens from now on, preceded by what is remembered after id `after`.

        An id that was not given out yet is of the process before: then all that this one remembers comes first.
        """
        queue: asyncio.Queue[Notice | None] = asyncio.Queue()
        if after is not None:
            first = after + 1 if after < self._next_id else 1
            for notice in self._memory:
                if notice.id >= first:
                    queue.put_nowait(notice)
        if self._closed:
            queue.put_nowait(None)
        self._listeners.add(queue)
        try:
            while (notice_or_end := await queue.get()) is not None:
                yield notice_or_end
        finally:
            self._listeners.discard(queue)

    def close(self) -> None:
        """End every listener, and those to come once they have heard what is remembered."""
        self._closed = True
        for queue in self._listeners:
            queue.put_nowait(None)
        self._listeners.clear()
