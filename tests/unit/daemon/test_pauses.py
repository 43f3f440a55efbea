import asyncio
import gc
import sys
from contextlib import suppress

from scheduler.daemon import pauses
from scheduler.operations.clock import SystemClock


async def test_what_lives_is_left_out_of_collections_until_the_daemon_ends() -> None:
    switch_interval_s = sys.getswitchinterval()
    keeping = asyncio.create_task(pauses.keep_short(SystemClock()))
    await asyncio.sleep(0)
    assert gc.get_freeze_count() > 0
    assert sys.getswitchinterval() < switch_interval_s
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
    assert gc.get_freeze_count() == 0
    assert sys.getswitchinterval() == switch_interval_s
