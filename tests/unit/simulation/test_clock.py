"""Time that moves only when told."""

import asyncio

import pytest

from scheduler.simulation.clock import ManualClock


async def test_sleepers_wake_in_the_order_of_their_time():
    clock, woken = ManualClock(), []

    async def sleep(seconds):
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        for seconds in (3.0, 1.0, 2.0):
            group.create_task(sleep(seconds))
        await clock.advance(10.0)
    assert woken == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]
    assert clock.monotonic() == 10.0


async def test_nobody_wakes_early():
    clock = ManualClock()
    sleeping = asyncio.create_task(clock.sleep(5.0))
    await clock.advance(4.9)
    assert not sleeping.done()
    await clock.advance(0.2)
    assert sleeping.done()


async def test_run_moves_as_far_as_the_work_needs():
    clock = ManualClock()

    async def work():
        await clock.sleep(10.0)
        await clock.sleep(5.0)
        return "done"

    assert await clock.run(work()) == "done"
    assert clock.monotonic() == 15.0


async def test_run_says_when_time_alone_brings_no_end():
    clock = ManualClock()
    with pytest.raises(TimeoutError):
        await clock.run(asyncio.Event().wait())


async def test_time_waits_for_who_is_busy():
    turns = iter([True] * 30)
    clock = ManualClock(busy=lambda: next(turns, False))
    await clock.settle()
    assert next(turns, None) is None


async def test_a_cancelled_sleeper_moves_no_time():
    clock = ManualClock()
    sleeping = asyncio.create_task(clock.sleep(5.0))
    await clock.settle()
    sleeping.cancel()
    await clock.advance(1.0)
    assert sleeping.cancelled()
    assert clock.monotonic() == 1.0


async def test_the_wall_clock_may_jump():
    clock = ManualClock(wall=1000.0)
    clock.jump_wall(-3600.0)
    assert (clock.wall(), clock.monotonic()) == (-2600.0, 0.0)
