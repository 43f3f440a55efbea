"""What was decided and done, as it stands in the journal and is told by the API. Times are Unix seconds."""

from dataclasses import dataclass
from enum import StrEnum


class Trigger(StrEnum):
    """Why something is done; a metric label."""

    MANUAL = "manual"
    """A person asked for it."""
    BALANCE = "balance"
    RULE = "rule"
    """A must-rule is violated and is being restored."""
    DRAIN = "drain"
    AUTOSTART = "autostart"
    """A VM was defined that asks to be placed."""
    RECOMMENDATION = "recommendation"
    """A person approved what was recommended."""
    ADOPTED = "adopted"
    """Somebody else's migration, or ours of before a restart without a journal entry."""


class MigrationState(StrEnum):
    """The states of one migration, in order; the last four are final."""

    QUEUED = "queued"
    """Waits for a free slot on both hosts."""
    CHECKING = "checking"
    MIGRATING = "migrating"
    VERIFYING = "verifying"
    """The call has ended; both hosts are asked what is true."""
    COMPLETED = "completed"
    FAILED = "failed"
    """The VM still runs on the source."""
    ABORTED = "aborted"
    UNKNOWN = "unknown"
    """Neither outcome could be established: a person should look."""

    @property
    def final(self) -> bool:
        """Whether nothing happens after it."""
        return self in {self.COMPLETED, self.FAILED, self.ABORTED, self.UNKNOWN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a migration is that is under way. A field is None where the hypervisor does not tell it."""

    transferred_bytes: int | None = None
    remaining_bytes: int | None = None
    """Of the memory, at this moment; what the guest writes adds to it."""
    iteration: int | None = None
    """How often QEMU has gone through the memory that was written again."""
    dirty_bytes_per_second: float | None = None
    expected_end_at: float | None = None
    """Unix seconds; None also where the guest writes as fast as is carried over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationRecord:
    """One migration from request to verified outcome."""

    id: int
    vm: str
    uuid: str
    source: str
    destination: str
    trigger: Trigger
    state: MigrationState
    reason_code: str
    reason: str
    """Why it is done."""
    requested_by: str = ""
    cycle: str = ""
    requested_at: float
    started_at: float | None = None
    ended_at: float | None = None
    predicted_seconds: float | None = None
    predicted_downtime_ms: int | None = None
    predicted_bytes: int | None = None
    duration_seconds: float | None = None
    downtime_ms: int | None = None
    transferred_bytes: int | None = None
    transfer_seconds: float | None = None
    """The part of the duration in which memory was sent."""
    error: str = ""
    progress_ratio: float | None = None
    """Of a running one, 0..1; not journalled."""
    progress: Progress | None = None
    """Of a running one, where the hypervisor tells it; not journalled."""


class PlacementOutcome(StrEnum):
    """How far a placement is, in order; all but the first two are ends, and metric labels."""

    DEFINING = "defining"
    """A new VM's definition is being put on its host. Like the next one it stands in the journal before that is done,
    and after a crash until the next daemon has found out what became of it."""
    STARTING = "starting"
    STARTED = "started"
    DRY_RUN = "dry_run"
    REFUSED = "refused"
    """No host can take it."""
    FAILED = "failed"
    """Every host that could take it failed to start it."""

    @property
    def final(self) -> bool:
        """Whether nothing happens after it."""
        return self not in {self.DEFINING, self.STARTING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A host on which a start was tried. `error` is empty when it worked."""

    host: str
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRecord:
    """One placement: where a VM was started and why there."""

    id: int
    vm: str
    uuid: str
    outcome: PlacementOutcome
    trigger: Trigger
    at: float
    """When it ended; of one that is under way, when its latest step began."""
    host: str | None = None
    reason: str = ""
    """One sentence: why this host, or why none."""
    requested_by: str = ""
    cycle: str = ""
    attempts: tuple[Attempt, ...] = ()
    ranking: tuple[dict[str, object], ...] = ()
    """`{"host", "score", "terms"}`, best first."""
    refused: tuple[dict[str, object], ...] = ()
    """`{"host", "reasons": [{"code", "text"}]}`."""
    moves_first: tuple[dict[str, object], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one cycle decided: one sentence, the plan's steps, and what it left alone and why."""

    cycle: str
    at: float
    sentence: str
    kind: str
    """`quiet` (nothing to do), `plan` (something is done), `recommend`, `observe` (something would be done, were it not
    for the mode), `blocked` (something should be, but cannot), `error` (the cycle failed)."""
    plan: dict[str, object] | None = None
    """The plan as `virt-scheduler plan --json` prints it."""
    refused: tuple[dict[str, object], ...] = ()
    """Steps the gate held back: `{"vm", "source", "destination", "reasons"}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """A call of the API that changes something, journalled before it is done."""

    id: int = 0
    at: float = 0.0
    requested_by: str
    """A user's name at the socket, `token:NAME` or `certificate:NAME`."""
    role: str
    method: str
    path: str
    asked: dict[str, object]
    """The body of the call; of domain definitions only how many there were, for they may hold secrets."""
    outcome: str = ""
    """`done`, or the code of the error; empty while it is being done, or when the daemon ended meanwhile."""


class RecommendationState(StrEnum):
    """What became of a recommendation."""

    PENDING = "pending"
    APPROVED = "approved"
    DISMISSED = "dismissed"
    EXPIRED = "expired"
    """The plan no longer holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """A move that waits for a person's word."""

    id: int
    vm: str
    uuid: str
    source: str
    destination: str
    trigger: Trigger
    reason_code: str
    reason: str
    gain: float
    predicted_seconds: float
    at: float
    cycle: str
    state: RecommendationState = RecommendationState.PENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Doings:
    """What came of what a cycle decided, each oldest first."""

    migrations: tuple[MigrationRecord, ...] = ()
    placements: tuple[PlacementRecord, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()
    snapshot_kept: bool = False
    """Whether the snapshot that it decided on can still be had."""
