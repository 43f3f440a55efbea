"""The journal: what was asked, decided and done, in SQLite, written before each step so that a restart knows.

It owns the file and its tables; records go in and come out as they are in `records`.
"""

import asyncio
import sqlite3
import zlib
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import aiosqlite

from ..cluster.codec import dump_snapshot
from ..cluster.model import Snapshot
from . import journal_rows as rows
from .history import Move
from .journal_file import Mended, mend
from .journal_retention import tidy
from .journal_schema import bring_up_to_date
from .records import (
    Decision,
    Doings,
    MigrationRecord,
    MigrationState,
    PlacementOutcome,
    PlacementRecord,
    Recommendation,
    RecommendationState,
    RequestRecord,
)
from .settings import Retention

MOVES_KEPT_SECONDS = 7 * 86_400.0
TIDY_SECONDS = 3600.0
"""How long age alone may go unnoticed."""
WAL_BYTES = 4 << 20
"""What the -wal file is cut back to when it was larger."""
_INCREMENTAL = 2

_FINAL_STATES = tuple(state.value for state in MigrationState if state.final)
_UNDER_WAY = tuple(outcome.value for outcome in PlacementOutcome if not outcome.final)

Record = PlacementRecord | Decision | Recommendation | RequestRecord


class JournalError(Exception):
    """The journal cannot be read or written; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFlag:
    """A host that a person took out of service."""

    host: str
    draining: bool
    """Its VMs are being moved away; else it is only cordoned."""
    requested_by: str
    at: float


@dataclass(frozen=True, slots=True)
class DefinitionMove:
    """The definition of a stopped VM on its way; after a crash it may be on both hosts."""

    uuid: str
    source: str
    destination: str


class Journal:
    """One open journal file. Every method raises JournalError when the file cannot be used."""

    def __init__(self, connection: aiosqlite.Connection, mended: Mended | None = None) -> None:
        self.mended = mended
        """What became of the file that was found damaged; None when it was sound."""
        self._connection = connection
        self._pending = 0
        self._retention = Retention()
        self._tidied_at: float | None = None
        """Unix seconds; None: something has been added since."""

    @classmethod
    async def open(cls, path: Path | str) -> "Journal":
        """Open or create the file, which nobody else may use; `:memory:` keeps it nowhere."""
        try:
            mended = await asyncio.to_thread(mend, path) if isinstance(path, Path) else None
            # aiosqlite, when it cannot connect, leaves a thread that fails loudly if the loop is closed before it ends.
            await asyncio.to_thread(_open_once, path)
            # No implicit transactions: each statement is one, on disk when it returns.
            connection = await aiosqlite.connect(path, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"{path}: {error}") from error
        connection.row_factory = sqlite3.Row
        try:
            await _set_up(connection)
        except (sqlite3.Error, ValueError) as error:
            await connection.close()
            raise JournalError(f"{path}: {error}") from error
        return cls(connection, mended)

    async def close(self) -> None:
        """Close the file; what was written stays."""
        await self._connection.close()

    @property
    def pending(self) -> int:
        """Statements on their way to the disk."""
        return self._pending

    # Migrations

    async def add_migration(self, record: MigrationRecord) -> MigrationRecord:
        """Journal a new migration; returns it with its id."""
        marks = ", ".join("?" * len(rows.MIGRATION_COLUMNS))
        columns = ", ".join(f'"{column}"' for column in rows.MIGRATION_COLUMNS)
        values = [getattr(record, column) for column in rows.MIGRATION_COLUMNS]
        inserted = await self._write(f"INSERT INTO migrations ({columns}) VALUES ({marks})", values)  # noqa: S608
        return replace(record, id=inserted)

    async def update_migration(self, record: MigrationRecord) -> None:
        """Journal what has changed of a migration."""
        columns = ", ".join(f'"{column}" = ?' for column in rows.MIGRATION_COLUMNS)
        values = [*(getattr(record, column) for column in rows.MIGRATION_COLUMNS), record.id]
        await self._write(f"UPDATE migrations SET {columns} WHERE id = ?", values)  # noqa: S608

    async def migration(self, migration_id: int) -> MigrationRecord | None:
        """One migration."""
        found = await self._read("SELECT * FROM migrations WHERE id = ?", [migration_id])
        return rows.migration(found[0]) if found else None

    async def migrations(self, *, limit: int) -> list[MigrationRecord]:
        """The newest first."""
        found = await self._read("SELECT * FROM migrations ORDER BY id DESC LIMIT ?", [limit])
        return [rows.migration(row) for row in found]

    async def unfinished(self) -> list[MigrationRecord]:
        """Migrations whose end is not journalled, oldest first."""
        marks = ", ".join("?" * len(_FINAL_STATES))
        query = f"SELECT * FROM migrations WHERE state NOT IN ({marks}) ORDER BY id"  # noqa: S608
        return [rows.migration(row) for row in await self._read(query, _FINAL_STATES)]

    async def note_autostart(self, migration_id: int) -> None:
        """The VM starts at its host's boot, which the migration must carry over."""
        await self._write("UPDATE migrations SET autostart = 1 WHERE id = ?", [migration_id])

    async def autostart(self, migration_id: int) -> bool:
        """Whether `note_autostart` was called for it."""
        found = await self._read("SELECT autostart FROM migrations WHERE id = ?", [migration_id])
        return bool(found and found[0]["autostart"])

    # What the gate remembers

    async def add_move(self, move: Move) -> None:
        """Journal a migration that ended; `at` in Unix seconds."""
        values = [move.uuid, move.source, move.destination, move.at, move.trigger, move.success]
        await self._write("INSERT INTO moves VALUES (?, ?, ?, ?, ?, ?)", values)
        await self._write("DELETE FROM moves WHERE at < ?", [move.at - MOVES_KEPT_SECONDS])

    async def moves(self) -> list[Move]:
        """All that are kept, oldest first."""
        return [rows.move(row) for row in await self._read("SELECT * FROM moves ORDER BY at, rowid")]

    # Placements

    async def add_placement(self, record: PlacementRecord) -> PlacementRecord:
        """Journal a placement; returns it with its id."""
        return replace(record, id=await self._add("placements", record))

    async def update_placement(self, record: PlacementRecord) -> None:
        """Journal what has changed of a placement."""
        values = [record.at, rows.to_json(record), record.id]
        await self._write("UPDATE placements SET at = ?, record = ? WHERE id = ?", values)

    async def placements(self, *, limit: int) -> list[PlacementRecord]:
        """The newest first."""
        found = await self._read("SELECT id, record FROM placements ORDER BY id DESC LIMIT ?", [limit])
        return [rows.placement(row) for row in found]

    async def placements_under_way(self) -> list[PlacementRecord]:
        """Those whose end is not journalled, oldest first."""
        marks = ", ".join("?" * len(_UNDER_WAY))
        query = f"SELECT id, record FROM placements WHERE record ->> 'outcome' IN ({marks}) ORDER BY id"  # noqa: S608
        return [rows.placement(row) for row in await self._read(query, _UNDER_WAY)]

    async def begin_definition_move(self, move: DefinitionMove) -> None:
        """Journal that a definition is about to be moved."""
        await self._write(
            "INSERT OR REPLACE INTO definition_moves VALUES (?, ?, ?)", [move.uuid, move.source, move.destination]
        )

    async def end_definition_move(self, uuid: str) -> None:
        """Its definition is on one host again."""
        await self._write("DELETE FROM definition_moves WHERE uuid = ?", [uuid])

    async def definition_moves(self) -> list[DefinitionMove]:
        """Those that a crash has interrupted."""
        found = await self._read("SELECT * FROM definition_moves")
        return [DefinitionMove(row["uuid"], row["source"], row["destination"]) for row in found]

    async def mark_autostarted(self, uuid: str, at: float) -> None:
        """A VM that asks for it was placed by the daemon, once and for all."""
        await self._write("INSERT OR IGNORE INTO autostarted VALUES (?, ?)", [uuid, at])

    async def forget_autostarted(self, uuid: str) -> None:
        """It is defined nowhere any more; defined again it will be placed again."""
        await self._write("DELETE FROM autostarted WHERE uuid = ?", [uuid])

    async def autostarted(self) -> frozenset[str]:
        """UUIDs of all that were marked."""
        return frozenset(row["uuid"] for row in await self._read("SELECT uuid FROM autostarted"))

    # Decisions and recommendations

    async def add_decision(self, decision: Decision, basis: Snapshot | None = None) -> None:
        """Journal what a cycle decided, and the snapshot that it decided on where that is to be kept."""
        await self._add("decisions", decision)
        if basis is None:
            return
        self._pending += 1
        try:  # that of thousands of VMs takes long enough to hold up everything else
            packed = await asyncio.to_thread(lambda: zlib.compress(dump_snapshot(basis).encode()))
        finally:
            self._pending -= 1
        row = [decision.cycle, decision.at, packed]
        await self._write("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", row)

    async def decision(self, cycle: str) -> Decision | None:
        """What one cycle decided, where that was news."""
        found = await self._read("SELECT record FROM decisions WHERE record ->> 'cycle' = ? ORDER BY id DESC", [cycle])
        return rows.decision(found[0]) if found else None

    async def doings(self, cycle: str) -> Doings:
        """What came of what a cycle decided."""
        migrations = await self._read("SELECT * FROM migrations WHERE cycle = ? ORDER BY id", [cycle])
        of_cycle = "WHERE record ->> 'cycle' = ? ORDER BY id"
        placements = await self._read(f"SELECT id, record FROM placements {of_cycle}", [cycle])  # noqa: S608
        recommended = await self._read(f"SELECT * FROM recommendations {of_cycle}", [cycle])  # noqa: S608
        return Doings(
            migrations=tuple(map(rows.migration, migrations)),
            placements=tuple(map(rows.placement, placements)),
            recommendations=tuple(map(rows.recommendation, recommended)),
            snapshot_kept=bool(await self._read("SELECT 1 FROM snapshots WHERE cycle = ?", [cycle])),
        )

    async def snapshot(self, cycle: str) -> str | None:
        """The JSON of the snapshot that a cycle decided on, where it is still kept."""
        found = await self._read("SELECT snapshot FROM snapshots WHERE cycle = ?", [cycle])
        return await asyncio.to_thread(lambda: zlib.decompress(found[0]["snapshot"]).decode()) if found else None

    async def decisions(self, *, limit: int) -> list[Decision]:
        """The newest first."""
        found = await self._read("SELECT record FROM decisions ORDER BY id DESC LIMIT ?", [limit])
        return [rows.decision(row) for row in found]

    async def add_recommendation(self, recommendation: Recommendation) -> Recommendation:
        """Journal a recommendation; returns it with its id."""
        inserted = await self._add("recommendations", recommendation, state=recommendation.state.value)
        return replace(recommendation, id=inserted)

    async def set_recommendation_state(self, recommendation_id: int, state: RecommendationState) -> None:
        """Journal what became of it."""
        await self._write("UPDATE recommendations SET state = ? WHERE id = ?", [state, recommendation_id])

    async def recommendation(self, recommendation_id: int) -> Recommendation | None:
        """One recommendation."""
        found = await self._read("SELECT * FROM recommendations WHERE id = ?", [recommendation_id])
        return rows.recommendation(found[0]) if found else None

    async def pending_recommendations(self) -> list[Recommendation]:
        """Those that wait for a person, oldest first."""
        query = "SELECT * FROM recommendations WHERE state = ? ORDER BY id"
        return [rows.recommendation(row) for row in await self._read(query, [RecommendationState.PENDING])]

    # Requests

    async def begin_request(self, request: RequestRecord) -> RequestRecord:
        """Journal a call of the API before it is done; returns it with its id."""
        return replace(request, id=await self._add("requests", request, outcome=""))

    async def end_request(self, request_id: int, outcome: str) -> None:
        """Journal how it ended."""
        await self._write("UPDATE requests SET outcome = ? WHERE id = ?", [outcome, request_id])

    async def requests(self, *, limit: int) -> list[RequestRecord]:
        """The newest first."""
        found = await self._read("SELECT * FROM requests ORDER BY id DESC LIMIT ?", [limit])
        return [rows.request(row) for row in found]

    # Hosts

    async def set_host_flag(self, flag: HostFlag) -> None:
        """Journal that a host is cordoned or draining."""
        values = [flag.host, flag.draining, flag.requested_by, flag.at]
        await self._write("INSERT OR REPLACE INTO host_flags VALUES (?, ?, ?, ?)", values)

    async def clear_host_flag(self, host: str) -> None:
        """Journal that a host is in service again."""
        await self._write("DELETE FROM host_flags WHERE host = ?", [host])

    async def host_flags(self) -> list[HostFlag]:
        """All hosts that are out of service."""
        return [
            HostFlag(host=row["host"], draining=bool(row["draining"]), requested_by=row["requested_by"], at=row["at"])
            for row in await self._read("SELECT * FROM host_flags ORDER BY host")
        ]

    # Retention

    def retain(self, retention: Retention) -> None:
        """What `tidy` keeps from now on."""
        self._retention, self._tidied_at = retention, None

    async def tidy(self, now: float) -> None:
        """Drop what is not to be kept any more, if there may be any; `now` in Unix seconds."""
        if self._tidied_at is not None and 0 <= now - self._tidied_at < TIDY_SECONDS:
            return
        self._pending += 1
        try:
            await tidy(self._connection, self._retention, now)
            self._tidied_at = now
        except (sqlite3.Error, ValueError) as error:
            raise JournalError(f"the journal cannot be tidied: {error}") from error
        finally:
            self._pending -= 1

    async def _add(self, table: str, record: Record, **columns: object) -> int:
        """Insert a record as JSON; returns its id."""
        names = ", ".join(["at", "record", *columns])
        marks = ", ".join("?" * (2 + len(columns)))
        values = [record.at, rows.to_json(record), *columns.values()]
        self._tidied_at = None
        return await self._write(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)  # noqa: S608

    async def _write(self, statement: str, values: Iterable[object]) -> int:
        """Returns the id of the row that an INSERT made."""
        self._pending += 1
        try:
            inserted = await self._connection.execute_insert(statement, tuple(values))
        except (sqlite3.Error, ValueError) as error:
            raise JournalError(f"the journal cannot be written: {error}") from error
        finally:
            self._pending -= 1
        return int(inserted[0]) if inserted else 0

    async def _read(self, query: str, values: Iterable[object] = ()) -> list[sqlite3.Row]:
        self._pending += 1
        try:
            return list(await self._connection.execute_fetchall(query, tuple(values)))
        except (sqlite3.Error, ValueError) as error:
            raise JournalError(f"the journal cannot be read: {error}") from error
        finally:
            self._pending -= 1


def _open_once(path: Path | str) -> None:
    """Make the file if there is none. Raises sqlite3.Error."""
    with closing(sqlite3.connect(path)):
        pass


async def _set_up(connection: aiosqlite.Connection) -> None:
    """Make the file one of this version that gives back what it does not need. ValueError for a newer one."""
    await connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded only before the first page is written
    await connection.execute("PRAGMA journal_mode = WAL")
    await connection.execute("PRAGMA synchronous = FULL")
    await connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    await bring_up_to_date(connection)
    async with connection.execute("PRAGMA auto_vacuum") as cursor:
        row = await cursor.fetchone()
    if row is not None and row[0] != _INCREMENTAL:
        await connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        await connection.execute("VACUUM")
