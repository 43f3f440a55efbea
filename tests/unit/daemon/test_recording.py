"""Recording beside the loop: once a minute, not while it is off, and through a disk that fails for a while."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from scheduler.daemon import recording
from scheduler.daemon.waiting import end
from scheduler.operations.load_record import LoadRecorder, read_minutes
from scheduler.simulation.clock import ManualClock
from tests.unit.clusters import cluster, host, vm


async def test_once_a_minute_unless_off_and_again_after_a_failure(tmp_path: Path):
    folder, clock, kept = tmp_path / "state", ManualClock(), [86400.0]
    path, looks = folder / "load.sqlite", list[float]()
    # One thread: what is asked of it after a record is done after it.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    def look():
        looks.append(clock.monotonic())
        seen = cluster([host("node1")], [vm("web1", "node1")])
        return replace(seen, taken_at=datetime.fromtimestamp(clock.wall(), UTC))

    async def minute() -> None:
        await clock.advance(60.0)
        await asyncio.to_thread(int)
        await clock.settle()

    task = asyncio.create_task(recording.keep(LoadRecorder(path), look, lambda: kept[0], clock))
    await minute()  # there is no folder: it cannot be written
    folder.mkdir()
    await minute()
    kept[0] = 0.0
    await minute()
    assert looks == [60.0, 120.0]
    assert len(list(read_minutes(path, 0.0))) == 1
    await end(task)
