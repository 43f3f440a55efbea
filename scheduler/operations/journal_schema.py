"""The journal's tables, and how a file of an older version becomes one of this version."""

import sqlite3

import aiosqlite

_VERSION_1 = """
CREATE TABLE migrations (
  id INTEGER PRIMARY KEY AUTOINCREMENT, vm TEXT NOT NULL, uuid TEXT NOT NULL, source TEXT NOT NULL,
  destination TEXT NOT NULL, "trigger" TEXT NOT NULL, state TEXT NOT NULL, reason_code TEXT NOT NULL,
  reason TEXT NOT NULL, requested_by TEXT NOT NULL, cycle TEXT NOT NULL, requested_at REAL NOT NULL, started_at REAL,
  ended_at REAL, predicted_seconds REAL, duration_seconds REAL, downtime_ms INTEGER, transferred_bytes INTEGER,
  error TEXT NOT NULL, autostart INTEGER NOT NULL DEFAULT 0);
CREATE INDEX migrations_by_state ON migrations (state);
CREATE TABLE moves (
  uuid TEXT NOT NULL, source TEXT NOT NULL, destination TEXT NOT NULL, at REAL NOT NULL, "trigger" TEXT NOT NULL,
  success INTEGER NOT NULL);
CREATE INDEX moves_by_time ON moves (at);
CREATE TABLE placements (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, record TEXT NOT NULL);
CREATE TABLE definition_moves (uuid TEXT PRIMARY KEY, source TEXT NOT NULL, destination TEXT NOT NULL);
CREATE TABLE autostarted (uuid TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE decisions (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, record TEXT NOT NULL);
CREATE TABLE recommendations (
  id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, at REAL NOT NULL, record TEXT NOT NULL);
CREATE TABLE host_flags (
  host TEXT PRIMARY KEY, draining INTEGER NOT NULL, requested_by TEXT NOT NULL, at REAL NOT NULL);
"""

_VERSION_2 = """
CREATE TABLE requests (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, record TEXT NOT NULL, outcome TEXT NOT NULL);
"""

_VERSION_3 = """
CREATE TABLE snapshots (cycle TEXT PRIMARY KEY, at REAL NOT NULL, snapshot BLOB NOT NULL);
CREATE INDEX decisions_by_cycle ON decisions (record ->> 'cycle');
CREATE INDEX migrations_by_cycle ON migrations (cycle);
"""

_VERSION_4 = """
ALTER TABLE migrations ADD COLUMN transfer_seconds REAL;
"""

_VERSION_5 = """
ALTER TABLE migrations ADD COLUMN predicted_downtime_ms INTEGER;
ALTER TABLE migrations ADD COLUMN predicted_bytes INTEGER;
"""

STEPS = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5)
"""Step n makes version n + 1 of version n. Steps are only ever added."""


async def bring_up_to_date(connection: aiosqlite.Connection) -> None:
    """Apply the steps that the file lacks, each with its version number or not at all.

    ValueError for a file of a newer program.
    """
    async with connection.execute("PRAGMA user_version") as cursor:
        row = await cursor.fetchone()
    for script in _scripts(row[0] if row is not None else 0, len(STEPS)):
        await connection.executescript(script)


def up_to_date(connection: sqlite3.Connection, version: int) -> None:
    """Make an empty file one of that version."""
    for script in _scripts(0, version):
        connection.executescript(script)


def _scripts(version: int, wanted: int) -> list[str]:
    if version > wanted:
        raise ValueError(
            f"the journal has version {version}, this program knows up to {wanted}: install the version that wrote it, "
            "or put back a copy of before"
        )
    steps = enumerate(STEPS[version:wanted], start=version + 1)
    return [f"BEGIN; {step} PRAGMA user_version = {number}; COMMIT;" for number, step in steps]
