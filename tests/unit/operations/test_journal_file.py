"""The journal's file through crashes, damage and versions: whatever happens to it, nothing is lost in silence."""

import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from scheduler.operations.history import Move
from scheduler.operations.journal import DefinitionMove, HostFlag, Journal, JournalError
from scheduler.operations.journal_schema import STEPS
from scheduler.operations.records import MigrationState, Trigger

from .test_journal import DECISION, MIGRATION, PLACEMENT, RECOMMENDATION

VERSION_1 = Path(__file__).parent / "data" / "journal-1.sql"
MOVES = [Move("u", "node1", "node2", float(number), Trigger.BALANCE, success=True) for number in range(40)]


def test_a_writer_that_is_killed_at_any_moment_loses_nothing_that_it_has_written(tmp_path):
    crashing = [sys.executable, "-m", "tests.unit.operations.crashing", str(tmp_path), "1", "5"]
    done = subprocess.run(crashing, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 15


async def test_a_journal_of_an_older_program_is_brought_up_to_date(tmp_path):
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_1.read_text())
    for _ in range(2):  # the second time there is nothing to do
        journal = await Journal.open(path)
        finished = replace(
            MIGRATION, id=1, state=MigrationState.COMPLETED, started_at=2.0, ended_at=9.0, duration_seconds=6.5,
            downtime_ms=80,
        )  # fmt: skip
        finished = replace(finished, predicted_downtime_ms=None, predicted_bytes=None)
        flying = replace(MIGRATION, id=2, predicted_downtime_ms=None, predicted_bytes=None)
        flying = replace(flying, state=MigrationState.MIGRATING, vm="db", uuid="v", cycle="c2")
        assert await journal.migrations(limit=9) == [flying, finished]
        assert await journal.autostart(2)
        assert await journal.moves() == [Move("u", "node1", "node2", 9.0, Trigger.BALANCE, success=True)]
        assert await journal.placements(limit=9) == [replace(PLACEMENT, id=1)]
        assert await journal.decisions(limit=9) == [DECISION]
        assert await journal.requests(limit=9) == []
        assert await journal.pending_recommendations() == [replace(RECOMMENDATION, id=1)]
        assert await journal.definition_moves() == [DefinitionMove("w", "node1", "node2")]
        assert await journal.autostarted() == {"x"}
        assert await journal.host_flags() == [HostFlag(host="node1", draining=True, requested_by="ann", at=1.0)]
        assert journal.mended is None
        await journal.close()
    with closing(sqlite3.connect(path)) as now:
        assert now.execute("PRAGMA auto_vacuum").fetchone() == (2,)


async def test_a_journal_of_a_newer_program_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(JournalError) as refused:
        await Journal.open(path)
    assert str(refused.value) == (
        f"{path}: the journal has version 99, this program knows up to {len(STEPS)}: install the version that wrote "
        "it, or put back a copy of before"
    )
    assert path.read_bytes()[100:] == before[100:]


async def filled(path: Path) -> None:
    """A journal of several pages, the last writes in the -wal file, as after a power cut."""
    journal = await Journal.open(path)
    for move in MOVES[:30]:
        await journal.add_move(move)
        await journal.add_placement(replace(PLACEMENT, reason="r" * 500))
        await journal.mark_autostarted(f"vm{move.at}", move.at)
    await journal.close()
    journal = await Journal.open(path)
    for move in MOVES[30:]:
        await journal.add_move(move)
    saved = path.with_name("saved")
    saved.mkdir()
    for end in ("", "-wal"):
        shutil.copy(path.with_name(path.name + end), saved)
    await journal.close()
    for file in saved.iterdir():
        shutil.copy(file, path.parent)


@pytest.fixture
async def crashed(tmp_path):
    path = tmp_path / "crashed" / "journal.db"
    path.parent.mkdir()
    await filled(path)
    return path


@pytest.mark.parametrize("end", ["", "-wal"])
async def test_a_file_that_ends_anywhere_is_used_or_set_aside(crashed, tmp_path, end):
    """What is there afterwards was there before; a file with anything wrong in it stays beside the new one."""
    whole = crashed.with_name(crashed.name + end).read_bytes()
    chance, mended = random.Random(7), 0
    for number in range(12):
        path = tmp_path / str(number) / "journal.db"
        shutil.copytree(crashed.parent, path.parent)
        cut = chance.randrange(len(whole))
        path.with_name(path.name + end).write_bytes(whole[:cut])
        with structlog.testing.capture_logs() as logged:
            journal = await Journal.open(path)
        moves = await journal.moves()
        assert moves == MOVES[: len(moves)]
        assert len(moves) >= 30 or journal.mended
        if journal.mended:
            mended += 1
            assert [line["event"][:24] for line in logged if line["log_level"] == "error"] == [
                "the journal is damaged: "
            ]
            assert journal.mended.set_aside.exists()
            assert journal.mended.taken_over.get("moves", 0) == len(moves)
        await journal.add_move(MOVES[-1])
        await journal.close()
    assert mended > 5 if end == "" else mended == 0


async def test_what_can_be_read_of_a_damaged_file_is_taken_over(crashed):
    with closing(sqlite3.connect(crashed)) as connection:
        [root] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'placements'").fetchone()
        [size] = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with crashed.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    journal = await Journal.open(crashed)
    assert journal.mended is not None
    assert journal.mended.set_aside == crashed.with_name("journal.db.damaged-1")
    assert journal.mended.taken_over == {
        "migrations": 0, "moves": 40, "placements": 0, "definition_moves": 0, "autostarted": 30, "decisions": 0,
        "recommendations": 0, "host_flags": 0, "requests": 0, "snapshots": 0,
    }  # fmt: skip
    assert await journal.moves() == MOVES
    assert len(await journal.autostarted()) == 30
    assert await journal.placements(limit=9) == []
    await journal.close()


async def test_what_is_no_journal_at_all_is_set_aside_too_and_three_such_files_stay(tmp_path):
    path = tmp_path / "journal.db"
    for number in range(5):
        path.write_text(f"no database {number}, but long enough to be taken for one " * 100)
        journal = await Journal.open(path)
        assert await journal.moves() == []
        assert journal.mended is not None
        assert journal.mended.damage == "file is not a database"
        await journal.close()
    aside = sorted(tmp_path.glob("*.damaged-*"))
    assert [file.name for file in aside] == [f"journal.db.damaged-{number}" for number in (3, 4, 5)]
    assert aside[-1].read_text().startswith("no database 4")


async def test_an_emptied_file_with_writes_beside_it_is_no_new_one(crashed):
    """SQLite itself would delete the -wal file, and with it the writes."""
    beside = crashed.with_name("journal.db-wal").read_bytes()
    crashed.write_bytes(b"")
    journal = await Journal.open(crashed)
    assert journal.mended is not None
    assert journal.mended.set_aside.with_name("journal.db.damaged-1-wal").read_bytes() == beside
    await journal.close()
