"""A copy of the journal to give away: taken while a daemon may write, or after one that is dead; texts are filtered."""

import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any


def copy(journal: Path, to: Path, without: Callable[[str], str], *, snapshots: int) -> dict[str, str]:
    """Copy the journal to a file that does not exist yet, each text as `without` gives it back.

    The snapshots are no part of the copy: the newest so many are returned, their JSON by cycle. Raises sqlite3.Error
    when it cannot be read.
    """
    with (
        closing(sqlite3.connect(f"{journal.absolute().as_uri()}?mode=ro", uri=True)) as original,
        closing(sqlite3.connect(to, isolation_level=None)) as own,
    ):
        original.backup(own)  # sees what is in the -wal file, and holds up no writer
        own.execute("PRAGMA journal_mode = DELETE")
        own.create_function("without", 1, lambda value: without(value) if isinstance(value, str) else value)
        found = _take_snapshots(own, snapshots)
        for (table,) in own.execute(_TABLES).fetchall():
            for _, column, *_ in own.execute(f'PRAGMA table_info("{table}")').fetchall():
                update = f'UPDATE "{table}" SET "{column}" = without("{column}")'  # noqa: S608 - names of our tables
                own.execute(f"{update} WHERE typeof(\"{column}\") = 'text'")
        own.execute("VACUUM")  # what was there before does not stay in pages that are free now
    return {cycle: without(text) for cycle, text in found.items()}


_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


def _take_snapshots(own: sqlite3.Connection, most: int) -> dict[str, str]:
    """The newest of them; none is left."""
    if ("snapshots",) not in own.execute(_TABLES).fetchall():
        return {}
    rows: list[tuple[str, Any]] = own.execute(
        "SELECT cycle, snapshot FROM snapshots ORDER BY rowid DESC LIMIT ?", [most]
    ).fetchall()
    own.execute("DELETE FROM snapshots")
    return {cycle: zlib.decompress(packed).decode() for cycle, packed in rows}
