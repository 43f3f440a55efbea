"""How the journal stays as small as the config says: what is old goes, and the oldest when there is too much."""

from typing import Final

import aiosqlite

from .records import MigrationState, PlacementOutcome, RecommendationState
from .settings import Retention

_MIB = 1 << 20
_PART: Final = 10
"""When there is too much, the oldest such part goes at once."""


def _words(*words: str) -> str:
    return ", ".join(f"'{word}'" for word in words)


_ENDED = _words(*(state for state in MigrationState if state.final))
_UNDER_WAY = _words(*(outcome for outcome in PlacementOutcome if not outcome.final))

_RECORDS: Final = (
    ("migrations", "requested_at", f"state IN ({_ENDED})"),
    ("placements", "at", f"record ->> 'outcome' NOT IN ({_UNDER_WAY})"),
    ("decisions", "at", "TRUE"),
    ("requests", "at", "TRUE"),
    ("recommendations", "at", f"state != '{RecommendationState.PENDING}'"),
)
"""Table, the column of its time, and which of its rows may go: what is under way never does."""


async def tidy(connection: aiosqlite.Connection, retention: Retention, now: float) -> None:
    """Drop what is too old or too much, and give the room back to the file system; `now` in Unix seconds."""
    await _drop_before(connection, now - retention.keep_seconds)
    await _bound_snapshots(connection, retention)
    while await _record_bytes(connection) > retention.max_size_mib * _MIB:
        if not await _drop_oldest(connection):
            break
    await connection.executescript(
        "PRAGMA incremental_vacuum;"
    )  # alone it gives back a page at each step of the cursor


async def _drop_before(connection: aiosqlite.Connection, at: float) -> None:
    for table, time, may_go in _RECORDS:
        await connection.execute(f"DELETE FROM {table} WHERE {time} < ? AND {may_go}", [at])  # noqa: S608
    await connection.execute("DELETE FROM snapshots WHERE at < ?", [at])


async def _drop_oldest(connection: aiosqlite.Connection) -> bool:
    """Drop the oldest part of all records that may go, whichever they are; whether there was any."""
    times = " UNION ALL ".join(f"SELECT {time} AS at FROM {table} WHERE {may_go}" for table, time, may_go in _RECORDS)  # noqa: S608
    count = int(await _number(connection, f"SELECT count(*) FROM ({times})"))  # noqa: S608
    if not count:
        return False
    nth = f"SELECT at FROM ({times}) ORDER BY at LIMIT 1 OFFSET {count // _PART}"  # noqa: S608
    latest = await _number(connection, nth)
    for table, time, may_go in _RECORDS:
        await connection.execute(f"DELETE FROM {table} WHERE {time} <= ? AND {may_go}", [latest])  # noqa: S608
    return True


async def _bound_snapshots(connection: aiosqlite.Connection, retention: Retention) -> None:
    """Keep the newest of them, as many as both bounds allow."""
    within = """
        SELECT cycle FROM (
          SELECT cycle, row_number() OVER newest AS count, sum(length(snapshot)) OVER newest AS bytes
          FROM snapshots WINDOW newest AS (ORDER BY rowid DESC))
        WHERE count <= ? AND bytes <= ?"""
    bounds = [retention.snapshots, retention.snapshots_max_size_mib * _MIB]
    await connection.execute(f"DELETE FROM snapshots WHERE cycle NOT IN ({within})", bounds)  # noqa: S608


async def _record_bytes(connection: aiosqlite.Connection) -> float:
    """What is used of the file, without the snapshots."""
    pages = await _number(connection, "PRAGMA page_count") - await _number(connection, "PRAGMA freelist_count")
    snapshots = await _number(connection, "SELECT coalesce(sum(length(snapshot)), 0) FROM snapshots")
    return pages * await _number(connection, "PRAGMA page_size") - snapshots


async def _number(connection: aiosqlite.Connection, query: str) -> float:
    async with connection.execute(query) as cursor:
        row = await cursor.fetchone()
    return float(row[0]) if row is not None else 0.0
