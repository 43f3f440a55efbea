"""Keeps the record of load: once a minute what the daemon sees is written, in a thread; that it fails harms nothing."""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Final

import structlog

from ..cluster.model import Snapshot
from ..operations.clock import Clock
from ..operations.load_record import LoadRecorder

log = structlog.get_logger(__name__)

PERIOD_S: Final = 60.0


async def keep(
    recorder: LoadRecorder, look: Callable[[], Snapshot], keep_seconds: Callable[[], float], clock: Clock
) -> None:
    """Record until cancelled; nothing while `keep_seconds` is 0. What goes wrong is logged once, until it is well."""
    failure = ""
    while True:
        await clock.sleep(PERIOD_S)
        if not keep_seconds():
            continue
        try:
            await asyncio.to_thread(recorder.add, look(), keep_seconds())
        except (sqlite3.Error, OSError) as error:
            if str(error) != failure:
                log.warning("load is not recorded", error=str(error))
            failure = str(error)
        else:
            failure = ""
