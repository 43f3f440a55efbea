"""Waiting for something to happen, but not for ever: by the clock that the daemon was given."""

import asyncio

from ..operations.clock import Clock


async def happens(event: asyncio.Event, within_s: float, clock: Clock) -> bool:
    """Wait until `event` is set or the time is over; whether it is set."""
    if event.is_set():
        return True
    waits = (asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep(within_s)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return event.is_set()


async def end(*tasks: asyncio.Task[None] | None) -> None:
    """Cancel tasks and wait until they are gone; what they fail with does not matter any more."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
