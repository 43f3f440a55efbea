"""What the API needs of the daemon; `scheduler.daemon.service.Service` is the real one."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..cluster.matrix import Baseline, Matrix
from ..cluster.model import Snapshot
from ..cluster.reason import Reason
from ..operations.records import Decision, Doings, MigrationRecord, PlacementRecord, Recommendation, RequestRecord
from ..planner.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """One host as `hosts` shows it."""

    name: str
    state: str
    """`up`, `maintenance` or `unreachable`."""
    detail: str
    """Why it is not simply up: the connection's error, `cordoned`, `draining`, `figures are 40 s old`. Else empty."""
    uri: str
    cpus: int | None = None
    cpu_model: str | None = None
    cpu_used_cores: float | None = None
    memory_mib: int | None = None
    reserved_memory_mib: int = 0
    committed_memory_mib: int = 0
    """What its VMs may use at most, with what is on its way to it."""
    free_memory_mib: int | None = None
    """What a VM can still get: neither reserved nor committed."""
    vms_running: int = 0
    inbound: int = 0
    outbound: int = 0
    """Migrations under way."""
    contended_seconds: float | None = None
    drain_ends_at: float | None = None
    """When a drain under way is expected to have moved all that can leave, Unix seconds; told anew at each step."""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The daemon in one look."""

    version: str
    mode: str
    ready: bool
    started_at: float
    cycle: str
    cycle_at: float | None
    sentence: str
    """What the last cycle did, or why it did nothing."""
    hosts_up: int
    hosts_total: int
    vms_running: int
    vms_total: int
    migrations_running: int
    recommendations_pending: int
    config_path: str
    config_error: str
    """Why the last reload was refused; empty when the file in force is the one on disk."""
    config_needs_restart: list[str] = field(default_factory=list)
    """Keys of the config in force that the daemon takes in at its next start."""
    hosts_down: dict[str, str] = field(default_factory=dict)
    """The hosts that are not up, by name, and why: they take part in nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that happened, as the event stream tells it. `id` grows by one."""

    id: int
    at: float
    kind: str
    """`domain`, `host`, `migration`, `placement`, `decision`, `config`."""
    text: str
    data: dict[str, object]


class ControlError(Exception):
    """A request that cannot be done. `kind` is `not_found`, `refused`, `conflict`, `invalid` or `unavailable`.

    The API itself adds `unauthorized`, `forbidden`, `too_many` and `too_slow`.
    """

    def __init__(self, kind: str, text: str, reasons: Sequence[Reason] = ()) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.reasons = tuple(reasons)


class Control(Protocol):
    """The daemon's use cases. All raise ControlError. VM arguments are names, UUIDs or name globs."""

    def status(self) -> Status: ...

    def hosts(self) -> list[HostStatus]: ...

    def snapshot(self) -> Snapshot: ...

    async def verdicts(self, vm: str, host: str | None) -> list[Verdict]:
        """Why a VM may or may not be on each host (or on `host`)."""

    async def matrix(self, vm: str | None) -> Matrix:
        """Which host's guests, or this VM, can move to which other, by the hosts' own answers, asked now."""

    async def baseline(self) -> Baseline:
        """The largest CPU that every host can run; `refused` when there is none."""

    async def place(
        self, definitions: Sequence[str], *, host: str | None, dry_run: bool, requested_by: str
    ) -> list[PlacementRecord]:
        """Define and start new VMs, each on its best host."""

    def widening(self, definitions: Sequence[str]) -> list[Reason]:
        """What in the definitions would reach into a host; each names its place."""

    async def start(
        self, vms: Sequence[str], *, host: str | None, dry_run: bool, requested_by: str
    ) -> list[PlacementRecord]:
        """Start defined VMs, each on its best host."""

    async def migrate(
        self, vms: Sequence[str], *, to: str | None, dry_run: bool, requested_by: str
    ) -> list[MigrationRecord]:
        """Check and begin migrations; returns at once. One that may not be done is returned as failed, with `error`."""

    async def migrations(self, *, limit: int) -> list[MigrationRecord]:
        """Newest first, the running ones with their progress."""

    async def migration(self, migration_id: int) -> MigrationRecord: ...

    async def abort(self, migration_id: int, *, requested_by: str) -> MigrationRecord: ...

    async def placements(self, *, limit: int) -> list[PlacementRecord]: ...

    async def decisions(self, *, limit: int) -> list[Decision]: ...

    async def decision(self, cycle: str) -> tuple[Decision, Doings]:
        """What one cycle decided, and what came of it."""

    async def decided_on(self, cycle: str) -> str:
        """The snapshot that a cycle decided on, as JSON."""

    async def cordon(self, host: str, *, requested_by: str) -> HostStatus:
        """Nothing moves to it or starts on it any more."""

    async def uncordon(self, host: str, *, requested_by: str) -> HostStatus: ...

    async def drain(self, host: str, *, dry_run: bool, requested_by: str) -> dict[str, object]:
        """Cordon it and move its VMs away; returns the plan, as `virt-scheduler plan --json` prints it."""

    async def recommendations(self) -> list[Recommendation]: ...

    async def approve(self, recommendation_id: int, *, requested_by: str) -> MigrationRecord: ...

    async def dismiss(self, recommendation_id: int, *, requested_by: str) -> Recommendation: ...

    async def reload(self) -> str:
        """Read the config again; returns what changed, one line. A mistake raises `invalid` and changes nothing."""

    async def begin_request(self, request: RequestRecord) -> RequestRecord:
        """Journal a call that is about to change something; returns it with its id and time."""

    async def end_request(self, request_id: int, outcome: str) -> None:
        """Journal how it ended."""

    async def requests(self, *, limit: int) -> list[RequestRecord]:
        """Newest first."""

    def notices(self, after: int | None) -> AsyncIterator[Notice]:
        """What happens from now on, or from the one after `after` where that is still remembered."""
