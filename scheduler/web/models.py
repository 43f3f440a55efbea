"""What the API reads and answers, beside the records that the daemon itself keeps; and how all of it becomes JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from ..cluster.model import Vm
from ..cluster.reason import Reason
from ..operations.records import Decision, Doings, MigrationRecord, PlacementRecord, Recommendation, RequestRecord
from ..planner.verdict import Verdict
from .control import HostStatus

RecordId = Annotated[int, Field(ge=1, le=2**63 - 1)]
"""The number of a migration or recommendation; SQLite holds no larger one."""
Name = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
DomainXml = Annotated[str, Field(min_length=1, json_schema_extra={"format": "libvirt-domain-xml"})]


class Query(BaseModel):
    """The query string of a call; an unknown parameter is a mistake, not a wish that may be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Newest(Query):
    """How many records, newest first."""

    limit: int = Field(default=100, ge=1, le=1000)


class VmQuery(Query):
    """Which VMs: a name glob, a UUID, `tag:KEY` or `tag:KEY=VALUE`."""

    name: Name | None = None


class ExplainQuery(Query):
    """Which host; all of them when absent."""

    host: Name | None = None


class MatrixQuery(Query):
    """Which VM; without it, host-model guests."""

    vm: Name | None = None


class Body(BaseModel):
    """The JSON body of a call; nothing is coerced, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def may_be_absent(cls) -> bool:
        """Whether a call may leave the body out: then it is taken for `{}`."""
        try:
            cls.model_validate_json("{}")
        except ValidationError:
            return False
        return True

    def told(self) -> dict[str, object]:
        """What of it the journal keeps: all that was given, but no secrets."""
        return self.model_dump(mode="json", exclude_unset=True)


class DrainRequest(Body):
    """Move all VMs away from a host."""

    dry_run: bool = False


class PlacementRequest(Body):
    """New VMs by their libvirt XML, or defined ones by name, UUID or glob; one of the two."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["definitions"], "properties": {"definitions": {"type": "array"}}},
                {"required": ["vms"], "properties": {"vms": {"type": "array"}}},
            ]
        }
    )

    definitions: list[DomainXml] | None = Field(default=None, min_length=1)
    vms: list[Name] | None = Field(default=None, min_length=1)
    host: Name | None = None
    dry_run: bool = False

    def told(self) -> dict[str, object]:
        """Without the definitions, which may hold passwords: the placements name the VMs."""
        told = Body.told(self)
        return told | {"definitions": len(self.definitions)} if self.definitions is not None else told

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.definitions is None) == (self.vms is None):
            raise ValueError("give either definitions or vms")
        return self


class MigrationRequest(Body):
    """Migrate VMs, by name, UUID or glob; without `to` the system chooses."""

    vms: list[Name] = Field(min_length=1, examples=[["web1"]])
    to: Name | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """The process answers."""

    status: str = "ok"


@dataclass(frozen=True, slots=True)
class Hosts:
    """All hosts."""

    hosts: list[HostStatus]


@dataclass(frozen=True, slots=True)
class Vms:
    """VMs as in the snapshot."""

    vms: list[Vm]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a VM may or may not be on each host. `host` is where it is; the others as in the snapshot."""

    vm: str
    host: str | None
    verdicts: list[Verdict]
    hold: str | None = None
    """Why balancing leaves it alone for now."""
    not_to: Mapping[str, str] = field(default_factory=dict)
    """Hosts to which balancing does not move it for now, and why."""
    quarantine: str | None = None
    """Why nothing moves it."""
    cautions: Sequence[Reason] = ()
    """Why its moves have to gain more than others."""


@dataclass(frozen=True, slots=True)
class DrainAnswer:
    """The moves, as `virt-scheduler plan --json` prints them."""

    plan: dict[str, object]


@dataclass(frozen=True, slots=True)
class Placements:
    """Placements."""

    placements: list[PlacementRecord]


@dataclass(frozen=True, slots=True)
class Migrations:
    """Migrations."""

    migrations: list[MigrationRecord]


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Moves that wait for a person's word, and what became of earlier ones."""

    recommendations: list[Recommendation]


@dataclass(frozen=True, slots=True)
class Decisions:
    """What the latest cycles decided."""

    decisions: list[Decision]


@dataclass(frozen=True, slots=True)
class CycleRecord:
    """What one cycle decided, and what came of it."""

    decision: Decision
    doings: Doings


@dataclass(frozen=True, slots=True)
class Requests:
    """Calls that changed something."""

    requests: list[RequestRecord]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload changed, one line."""

    changed: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call was not done."""

    code: str
    message: str
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class FailureAnswer:
    """The body of every answer that is not a success."""

    error: Failure


def to_json(value: object) -> str:
    """Records as JSON: sets sorted, enums by value, times in UTC with `Z`, reasons as `{"code", "text"}`.

    A reason with a remedy has that, too.

    ValueError for a number that JSON does not have (NaN, infinity).
    """
    return json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False)


def _plain(value: object) -> object:
    """One step towards what JSON knows; `json.dumps` asks again for what is inside."""
    match value:
        case Reason():
            return value.as_dict() | ({"remedy": value.remedy} if value.remedy else {})
        case Enum():
            return value.value
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case set() | frozenset():
            return sorted(value)
        case Mapping():
            return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")
