"""What the operator may choose about planning, with the defaults that hold without a config.

It stands in a snapshot beside the rules, so that the same plan can be made of the snapshot alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

WINDOW_S = 900.0
"""Over what time a high percentile is taken, and so for how long it remembers one burst."""


class Objective(StrEnum):
    """What a better cluster is."""

    CONTENTION = "contention"
    SPREAD = "spread"
    PACK = "pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationMeans:
    """By what a migration comes to an end though the guest writes its memory faster than can be sent."""

    max_downtime_ms: int = 300
    """How long the guest may stand still at the end."""
    downtime_limit_ms: int = 300
    """How long it may where nothing shorter does."""
    auto_converge: bool = False
    """The guest is slowed down."""
    post_copy: bool = False
    """The guest goes on at the destination, and what it lacks is fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMeans:
    """VMs, by selectors, and how theirs may end."""

    vms: tuple[str, ...]
    means: MigrationMeans = MigrationMeans()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerSettings:
    """Planning. Ratios are 0..1."""

    objective: Objective = Objective.CONTENTION
    hold_seconds: float = 120.0
    """Contention that lasted less moves nothing."""
    minimum_gain_ratio: float = 0.10
    """A plan must lower the objective by this part, cost included."""
    cpu_wait_ratio_limit: float = 0.05
    """A VM whose vCPUs wait longer than this part of the time is short of CPU (VMware calls it %RDY per vCPU)."""
    cpu_usage_ratio_limit: float = 0.90
    """Demand above this part of a host's CPUs is contention to come; no move or placement drives a host above it
    while another host is below."""
    horizon_seconds: float = 1800.0
    """How long a relief is taken to last; what a move costs is weighed against that."""
    bandwidth_mib_per_s: float = 100.0
    """Migration bandwidth between two hosts of which nothing has been measured yet."""
    migration: MigrationMeans = MigrationMeans()
    migration_classes: tuple[ClassMeans, ...] = ()
    """VMs that are migrated otherwise; the first that means a VM counts."""
    max_inbound: int = 1
    max_outbound: int = 2
    """Migrations at the same time, per host."""
    max_moves: int | None = None
    max_gib: float | None = None
    """Memory of all VMs that a plan moves."""
    time_limit_seconds: float = 5.0
    weights: Mapping[str, float] = field(default_factory=lambda: {"cpu": 1.0, "memory": 1.0, "vcpus": 0.0})
    """Of the objective `spread`."""

    @property
    def expected_hold_seconds(self) -> float:
        """Contention that is only expected moves nothing before it lasted so long.

        A high percentile remembers one burst for the whole window: only load that comes again lasts longer.
        """
        return WINDOW_S + self.hold_seconds
