"""The journal's file before it is used: one that is damaged is set aside, and what can be read of it taken over.

Nothing is lost in silence: the damaged file stays, beside the new one, and the log says what came of it.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from .journal_schema import STEPS, up_to_date

log = structlog.get_logger(__name__)

NAME = "journal.sqlite"
"""Of the file in the state directory."""
SET_ASIDE_KEPT = 3
"""Damaged files that stay; the oldest go."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BESIDE = ("-wal", "-shm", "-journal")
"""Files that belong to one of SQLite's, by what their names end with."""


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of a damaged file."""

    damage: str
    set_aside: Path
    taken_over: Mapping[str, int]
    """Rows that could be read, by table."""


def mend(path: Path) -> Mended | None:
    """Set a damaged file aside and begin a new one with what can be read; None when there is nothing to mend.

    Nobody else may use the file. Raises sqlite3.Error or OSError when the file cannot be used at all.
    """
    damage = _damage(path)
    if not damage:
        return None
    aside = _set_aside(path)
    mended = Mended(damage, aside, _take_over(aside, path))
    log.error(
        "the journal is damaged: it is set aside, and a new one begun with what could be read",
        damage=damage,
        set_aside=str(aside),
        taken_over=dict(mended.taken_over),
    )
    return mended


def _damage(path: Path) -> str:
    """What is wrong with the file; empty when it is sound or not there yet."""
    size = path.stat().st_size if path.exists() else 0
    if not size:
        # Without a file SQLite takes what belongs to it for a leftover and deletes it.
        return "it is empty, and its -wal is not" if _filled(path.with_name(path.name + "-wal")) else ""
    try:
        with closing(sqlite3.connect(path)) as connection:
            [found] = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        # The low byte is the code, what is above tells more of it.
        if error.sqlite_errorcode & 0xFF not in _DAMAGED:
            raise
        return str(error)
    return "" if found == "ok" else str(found)


def _filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _set_aside(path: Path) -> Path:
    """Rename the file, with what belongs to it, to the next free `NAME.damaged-N`."""
    stem = f"{path.name}.damaged-"
    earlier = {number: file for file in path.parent.glob(f"{stem}*") if (number := _number(file, stem)) is not None}
    for number in sorted(earlier)[: 1 - SET_ASIDE_KEPT]:
        for end in ("", *_BESIDE):
            earlier[number].with_name(earlier[number].name + end).unlink(missing_ok=True)
    aside = path.with_name(f"{stem}{max(earlier, default=0) + 1}")
    for end in (*_BESIDE, ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    return aside


def _number(file: Path, stem: str) -> int | None:
    text = file.name.removeprefix(stem)
    return int(text) if text.isdecimal() else None


def _take_over(damaged: Path, fresh: Path) -> dict[str, int]:
    """Copy the rows that can be read; how many, by table."""
    taken: dict[str, int] = {}
    if not _filled(damaged):
        return taken
    with closing(sqlite3.connect(damaged)) as old, closing(sqlite3.connect(fresh, isolation_level=None)) as new:
        try:
            [version] = old.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError:
            return taken
        if not 0 < version <= len(STEPS):
            return taken
        new.execute("PRAGMA auto_vacuum = INCREMENTAL")
        up_to_date(new, version)
        new.execute("BEGIN")
        for (table,) in new.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name != 'sqlite_sequence'"
        ):
            taken[table] = _copy(old, new, table)
        new.execute("COMMIT")
    return taken


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> int:
    columns = [f'"{name}"' for _, name, *_ in new.execute(f"PRAGMA table_info({table})")]
    names, marks = ", ".join(["rowid", *columns]), ", ".join("?" * (len(columns) + 1))
    before = new.total_changes
    # From both ends: a scan does not get past a page that is damaged.
    for order in ("ASC", "DESC"):
        for row in _readable(old, f"SELECT {names} FROM {table} ORDER BY rowid {order}"):  # noqa: S608
            with suppress(sqlite3.IntegrityError):
                new.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", row)  # noqa: S608
    return new.total_changes - before


def _readable(connection: sqlite3.Connection, query: str) -> Iterator[tuple[object, ...]]:
    """The rows up to the first that cannot be read."""
    with suppress(sqlite3.DatabaseError):
        yield from connection.execute(query)
