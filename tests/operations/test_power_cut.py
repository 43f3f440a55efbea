"""The journal and a power cut at any moment: what it has said to be written is there."""

import random
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from scheduler.operations.history import Move
from scheduler.operations.journal import Journal
from scheduler.operations.records import Trigger

from .power_cut import STRACE, WHY_NOT, Call, Disk, traced

pytestmark = pytest.mark.skipif(STRACE is None, reason=WHY_NOT)

VERSION_1 = Path(__file__).parents[1] / "unit" / "operations" / "data" / "journal-1.sql"
FIRST = {0: 0, 1: 9}
"""Of each version of the file that the writer finds (0: none), the first number that is then in it."""
WRITER = """
import asyncio, os, sys
from pathlib import Path
from tests.unit.operations.crashing import write_on
told = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
for _ in range(3):  # each ends with a checkpoint
    asyncio.run(write_on(Path(sys.argv[1]), told, count=NUMBERS // 3))
"""
NUMBERS = 60
CUTS = 80


@pytest.mark.parametrize("version", FIRST)
async def test_after_a_power_cut_the_journal_has_all_that_it_said_to_be_written(tmp_path: Path, version: int) -> None:
    chance = random.Random(version)
    directory, told = tmp_path / "state", tmp_path / "told"
    directory.mkdir()
    disk = Disk(directory)
    if version:
        with closing(sqlite3.connect(directory / "journal.sqlite")) as old:
            old.executescript(VERSION_1.read_text())
        disk.take(Call("write", directory / "journal.sqlite", (directory / "journal.sqlite").read_bytes()))
        disk.take(Call("fsync", directory / "journal.sqlite"))
        disk.take(Call("fsync", directory))
    command = [
        sys.executable,
        "-c",
        WRITER.replace("NUMBERS", str(NUMBERS)),
        str(directory / "journal.sqlite"),
        str(told),
    ]
    calls = traced(command, tmp_path / "trace")
    moments = set(chance.sample(range(len(calls)), CUTS))
    first = FIRST[version]
    last_told, exact, seen = first - 1 + version, 0, set()
    for number, call in enumerate(calls):
        disk.take(call)
        if call.file == told:
            last_told = int(call.data)
        if number in moments:
            found = await _after_a_cut(disk, chance, tmp_path / f"cut-{number}", first)
            assert found >= last_told, f"cut at call {number} of {len(calls)}"
            exact += found == last_told
            seen.add(found)
    assert last_told == first + version + NUMBERS - 1
    assert len(seen) > 20
    assert exact > 25, "what is not synced must get lost in many of them, or nothing is shown here"


async def _after_a_cut(disk: Disk, chance: random.Random, directory: Path, first: int) -> int:
    """Open what is left as the next daemon does, and write on; the last number that is in it."""
    directory.mkdir()
    disk.cut(chance, directory)
    journal = await Journal.open(directory / "journal.sqlite")
    assert journal.mended is None, "a power cut damages nothing"
    numbers = [int(move.at) for move in await journal.moves()]
    await journal.add_move(Move("u", "node1", "node2", 1000.0, Trigger.BALANCE, success=True))
    assert len(await journal.moves()) == len(numbers) + 1
    await journal.close()
    assert numbers == list(range(first, first + len(numbers))), "one is missing, or there twice"
    return numbers[-1] if numbers else -1
