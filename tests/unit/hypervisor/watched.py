"""A cluster whose events a test can wait for."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from scheduler.cluster.observation import Event, EventKind
from scheduler.hypervisor.cluster import LibvirtCluster


class Watched:
    """A LibvirtCluster whose events are all kept."""

    def __init__(self) -> None:
        self.cluster = LibvirtCluster()
        self.seen: list[Event] = []
        self._arrived = asyncio.Condition()
        self._task = asyncio.create_task(self._watch(self.cluster.events()))

    async def expect(self, kind: EventKind, timeout_s: float, **fields: str) -> Event:
        """The next event of that kind, which is taken out; fails with what came instead."""

        def found() -> Event | None:
            for event in self.seen:
                if event.kind is kind and all(getattr(event, key) == value for key, value in fields.items()):
                    return event
            return None

        try:
            async with asyncio.timeout(timeout_s), self._arrived:
                await self._arrived.wait_for(lambda: found() is not None)
        except TimeoutError:
            pytest.fail(f"no {kind} {fields} within {timeout_s} s, only {self.seen}")
        event = found()
        assert event is not None
        self.seen.remove(event)
        return event

    async def close(self) -> None:
        await self.cluster.close()
        await self._task

    async def _watch(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            async with self._arrived:
                self.seen.append(event)
                self._arrived.notify_all()
