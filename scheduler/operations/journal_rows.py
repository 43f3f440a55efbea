"""Records as they lie in the journal's rows: a migration in columns, the others as JSON in the column `record`."""

import json
import sqlite3
from dataclasses import asdict, fields

from .history import Move
from .records import (
    Attempt,
    Decision,
    MigrationRecord,
    MigrationState,
    PlacementOutcome,
    PlacementRecord,
    Recommendation,
    RecommendationState,
    RequestRecord,
    Trigger,
)

_NOT_KEPT = {"id", "progress_ratio", "progress"}
MIGRATION_COLUMNS = tuple(field.name for field in fields(MigrationRecord) if field.name not in _NOT_KEPT)


def to_json(record: PlacementRecord | Decision | Recommendation | RequestRecord) -> str:
    """The column `record`."""
    # One level by hand: copying all that lies below, which is plain already, takes longer than writing it.
    return json.dumps({field.name: getattr(record, field.name) for field in fields(record)}, default=asdict)


def migration(row: sqlite3.Row) -> MigrationRecord:
    """A row of `migrations`."""
    values = {column: row[column] for column in ("id", *MIGRATION_COLUMNS)}
    values |= {"trigger": Trigger(row["trigger"]), "state": MigrationState(row["state"])}
    return MigrationRecord(**values)


def move(row: sqlite3.Row) -> Move:
    """A row of `moves`."""
    trigger, success = Trigger(row["trigger"]), bool(row["success"])
    return Move(row["uuid"], row["source"], row["destination"], row["at"], trigger, success)


def placement(row: sqlite3.Row) -> PlacementRecord:
    """A row of `placements`."""
    values = json.loads(row["record"])
    values |= {"id": row["id"], "outcome": PlacementOutcome(values["outcome"]), "trigger": Trigger(values["trigger"])}
    values["attempts"] = tuple(Attempt(**attempt) for attempt in values["attempts"])
    for listed in ("ranking", "refused", "moves_first"):
        values[listed] = tuple(values[listed])
    return PlacementRecord(**values)


def decision(row: sqlite3.Row) -> Decision:
    """A row of `decisions`."""
    values = json.loads(row["record"])
    return Decision(**values | {"refused": tuple(values["refused"])})


def recommendation(row: sqlite3.Row) -> Recommendation:
    """A row of `recommendations`; its state is in a column of its own."""
    values = json.loads(row["record"])
    values |= {"id": row["id"], "trigger": Trigger(values["trigger"]), "state": RecommendationState(row["state"])}
    return Recommendation(**values)


def request(row: sqlite3.Row) -> RequestRecord:
    """A row of `requests`; its outcome is in a column of its own."""
    return RequestRecord(**json.loads(row["record"]) | {"id": row["id"], "outcome": row["outcome"]})
