"""Writers of a journal that are killed at random moments; run as a program, for `fork` wants a process of one thread.

Arguments: a directory, a seed, how many seconds to go on. Prints how many writers were killed.
"""

import asyncio
import os
import random
import signal
import sqlite3
import sys
import time
from contextlib import closing
from math import inf
from pathlib import Path

from scheduler.operations.history import Move
from scheduler.operations.journal import Journal
from scheduler.operations.records import Decision, Trigger
from scheduler.operations.settings import Retention


async def write_on(path: Path, told: int, count: float = inf) -> None:
    """Write for ever, or so many numbers; each is told when the journal says that it is written."""
    journal = await Journal.open(path)
    journal.retain(Retention(max_size_mib=1, keep_seconds=50.0))
    moves = await journal.moves()
    number = int(moves[-1].at) + 1 if moves else 0
    end = number + count
    while number < end:
        await journal.add_move(Move("u", "node1", "node2", float(number), Trigger.BALANCE, success=True))
        os.write(told, f"{number}\n".encode())
        await journal.add_decision(Decision(cycle=f"c{number}", at=number, sentence="x" * 3000, kind="plan"))
        if number % 7 == 0:
            await journal.tidy(number)
        number += 1
    await journal.close()


def kill_one(path: Path, after_s: float) -> int:
    """Have a writer killed; the last number that it told, -1 when it came to none."""
    reading, telling = os.pipe()
    writer = os.fork()
    if writer == 0:
        os.close(reading)
        asyncio.run(write_on(path, telling))
    os.close(telling)
    time.sleep(after_s)
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    with os.fdopen(reading) as heard:
        lines = heard.read().splitlines()
    return int(lines[-1]) if lines else -1


def look(path: Path, told: int) -> int:
    """Hold the journal against the numbers told so far; the last that is in it."""
    with closing(sqlite3.connect(path)) as connection:
        [sound] = connection.execute("PRAGMA integrity_check").fetchone()
        [version] = connection.execute("PRAGMA user_version").fetchone()
        written = [int(at) for (at,) in connection.execute("SELECT at FROM moves ORDER BY rowid")] if version else []
    assert sound == "ok", sound
    assert written == list(range(len(written))), "a number is missing, or there twice"
    assert told < len(written) or told == -1, f"{told} was told, the last one is {len(written) - 1}"
    return len(written) - 1


def main(directory: Path, seed: int, seconds: float) -> None:
    """Kill writers until the time is over, each at another moment of opening, migrating, writing and tidying."""
    chance, killed, end = random.Random(seed), 0, time.monotonic() + seconds
    path, last = directory / "journal-0.db", -1
    while time.monotonic() < end:
        if killed % 15 == 0:
            path, last = directory / f"journal-{killed}.db", -1
        told = kill_one(path, chance.choice([0.002, 0.02, 0.1]) * chance.random())
        killed += 1
        now = look(path, max(told, last)) if path.exists() else -1
        assert now >= last
        last = now
        assert not list(directory.glob("*.damaged-*")), "a sound file was taken for a damaged one"
    sys.stdout.write(f"{killed}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
