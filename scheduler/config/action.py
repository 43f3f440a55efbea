"""When the daemon acts by itself, what it is held to, and how migrations are run."""

from typing import Annotated

from pydantic import Field, StrictBool

from ..operations.settings import Limits, MigrationSettings
from ..planner.settings import Objective, PlannerSettings
from .quantities import (
    Bandwidth,
    Count,
    DowntimeMs,
    Duration,
    OptionalBandwidth,
    OptionalCount,
    Ratio,
    Weight,
)
from .section import Section, Selectors

_PLANNER = PlannerSettings()
_LIMITS = Limits()
_MIGRATION = MigrationSettings()


class WeightsSection(Section):
    """What counts how much in the objective `spread`."""

    cpu: Weight = _PLANNER.weights["cpu"]
    """CPU demand per core."""
    memory: Weight = _PLANNER.weights["memory"]
    """Memory of VMs per memory of the host."""
    vcpus: Weight = _PLANNER.weights["vcpus"]
    """vCPUs per core."""


class BalanceSection(Section):
    """When a move is worth it."""

    objective: Objective = _PLANNER.objective
    """`contention`: help VMs that wait; `spread`: even load; `pack`: few hosts."""
    hold_seconds: Duration = _PLANNER.hold_seconds
    """Contention that lasted less moves nothing."""
    minimum_gain_ratio: Ratio = _PLANNER.minimum_gain_ratio
    """A plan must lower the objective by this part, cost included."""
    cpu_wait_ratio_limit: Ratio = _PLANNER.cpu_wait_ratio_limit
    """A VM whose vCPUs wait longer than this part of the time is short of CPU."""
    cpu_usage_ratio_limit: Annotated[Ratio, Field(gt=0)] = _PLANNER.cpu_usage_ratio_limit
    """Demand above this part of a host's CPUs is contention to come."""
    horizon_seconds: Duration = _PLANNER.horizon_seconds
    """How long a relief is taken to last, against what the move costs."""
    max_moves: OptionalCount = _PLANNER.max_moves
    """Moves in one plan; a count or `unlimited`."""
    time_limit_seconds: Annotated[Duration, Field(gt=0)] = _PLANNER.time_limit_seconds
    """The search takes the best plan it has by then."""
    weights: WeightsSection = WeightsSection()
    """Of the objective `spread`."""


class LimitsSection(Section):
    """What automatic action is held to."""

    max_inbound: Count = _LIMITS.max_inbound
    """Migrations to one host at the same time."""
    max_outbound: Count = _LIMITS.max_outbound
    """Migrations from one host at the same time."""
    max_moved_ratio_per_hour: Ratio = _LIMITS.max_moved_ratio_per_hour
    """Part of all VMs that balancing may move in an hour."""
    min_moves_per_hour: Count = _LIMITS.min_moves_per_hour
    """In a small cluster balancing may move so many in an hour, but at most a tenth of the VMs, and always one."""
    cooldown_seconds: Duration = _LIMITS.cooldown_seconds
    """A VM that was moved is left alone for this long, doubled for each further move within a day."""
    max_cooldown_seconds: Duration = _LIMITS.max_cooldown_seconds
    """Up to this."""
    reverse_ban_seconds: Duration = _LIMITS.reverse_ban_seconds
    """No automatic move back to where a VM came from."""
    manual_move_hold_seconds: Duration = _LIMITS.manual_move_hold_seconds
    """A VM that a person moved stays where the person put it."""
    warm_up_seconds: Duration = _LIMITS.warm_up_seconds
    """No balancing for so long after the daemon's start."""
    failure_backoff_seconds: Duration = _LIMITS.failure_backoff_seconds
    """A VM whose migration failed is left alone for this long, doubled for each further failure in a row."""


class MigrationOptionsSection(Section):
    """What may be said of all migrations and of those of some VMs."""

    bandwidth_mib_per_s: OptionalBandwidth = _MIGRATION.bandwidth_mib_per_s
    """Cap of one migration, such as `500MiB/s`, or `unlimited`."""
    max_downtime_ms: DowntimeMs = _MIGRATION.max_downtime_ms
    """How long the guest may stand still at the end; at most a minute."""
    downtime_limit_ms: DowntimeMs = _MIGRATION.downtime_limit_ms
    """Up to which `max_downtime` is doubled, step by step, for a migration that makes no progress."""
    auto_converge: StrictBool = _MIGRATION.auto_converge
    """Let QEMU slow down a guest that writes memory faster than it can be carried over."""
    post_copy: StrictBool = _MIGRATION.post_copy
    """Let one that makes no progress go on as post-copy: it ends, but cannot be aborted any more, and is lost with
    its link."""
    abort_stalled: StrictBool = _MIGRATION.abort_stalled
    """Abort one that makes no progress when nothing is left that could help it."""
    parallel_connections: Annotated[Count, Field(ge=1, le=64)] = _MIGRATION.parallel_connections
    """Network connections of one migration; several fill a fast link."""
    tls: StrictBool = _MIGRATION.tls
    """Encrypt the memory on its way; the hosts' QEMU need certificates."""
    copy_storage: StrictBool = _MIGRATION.copy_storage
    """Copy disks that are files on local storage along, into a pool at the same path there; the source's files stay."""
    timeout_seconds: Annotated[Duration, Field(gt=0)] = _MIGRATION.timeout_seconds
    """A migration that takes longer is aborted; the VM stays where it was."""


class MigrationSection(MigrationOptionsSection):
    """How migrations are run."""

    expected_bandwidth_mib_per_s: Bandwidth = int(_PLANNER.bandwidth_mib_per_s)
    """Taken for predictions between two hosts of which nothing has been measured yet."""


class MigrationClassSection(MigrationOptionsSection):
    """VMs that are migrated otherwise. A key that is not given is as in `[migration]`."""

    vms: Selectors
    """Names, globs, UUIDs or tags; the first entry that means a VM counts."""
