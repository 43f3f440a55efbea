"""The config as pydantic models: every key, its meaning, what is allowed and its default.

Fields carry the unit in their name (`hold_seconds`); in the file the value carries it (`hold = "2min"`), so a key is
its field's name without the unit. Sections that set something elsewhere take their defaults from there.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..cluster.ports import HostAddress
from ..cluster.rules import Affinity, AntiAffinity, Pin, Priority, Rules, selects
from ..cluster.settings import ClassMeans, MigrationMeans
from ..operations.settings import Limits, MigrationClass, MigrationSettings, Mode, Retention
from ..planner.settings import PlannerSettings
from .access import ApiSection
from .action import BalanceSection, LimitsSection, MigrationClassSection, MigrationSection
from .hosts import HostSection, local_host
from .process import HistorySection, LogSection, MetricsSection
from .quantities import Duration
from .rules import AffinitySection, AntiAffinitySection, ModeSection, PinSection, PrioritySection
from .section import AbsolutePath, Section


class Config(Section):
    """The whole file. Without it one host, this machine, is scheduled."""

    mode: Mode = Mode.RECOMMEND
    """What the daemon does by itself: `observe` nothing, `recommend` moves for approval, `auto` does them."""
    state_directory: AbsolutePath = Path("/var/lib/virt-scheduler")
    """Where the journal and the record of load are kept."""
    shared_directories: tuple[AbsolutePath, ...] = ()
    """Directories that all hosts see alike (NFS, a cluster file system): disks elsewhere keep their VM where it is."""
    sample_interval_seconds: Annotated[Duration, Field(gt=0, le=30)] = 10.0
    """How often load is measured."""
    sweep_interval_seconds: Annotated[Duration, Field(gt=0)] = 60.0
    """How often everything is looked at again, events or not."""
    event_debounce_seconds: Duration = 1.0
    """How long after an event the next cycle waits for more of them."""
    hosts: Annotated[tuple[HostSection, ...], Field(min_length=1)] = Field(default_factory=lambda: (local_host(),))
    """The hosts of the cluster; without any, this machine at `qemu:///system`."""
    pins: tuple[PinSection, ...] = ()
    """VMs that belong on some hosts."""
    anti_affinity: tuple[AntiAffinitySection, ...] = ()
    """VMs that keep apart."""
    affinity: tuple[AffinitySection, ...] = ()
    """VMs that run together on one host."""
    priorities: tuple[PrioritySection, ...] = ()
    """How important VMs are, beside each other. No VM is ever stopped or moved away for a more important one."""
    modes: tuple[ModeSection, ...] = ()
    """The mode of some VMs."""
    balance: BalanceSection = BalanceSection()
    """When a move is worth it."""
    limits: LimitsSection = LimitsSection()
    """What automatic action is held to."""
    migration: MigrationSection = MigrationSection()
    """How migrations are run."""
    migration_classes: tuple[MigrationClassSection, ...] = ()
    """VMs that are migrated otherwise. A key that is not given is as in `[migration]`."""
    history: HistorySection = HistorySection()
    """How much of what happened is remembered, in the journal."""
    api: ApiSection = ApiSection()
    """The HTTP API that the commands use."""
    metrics: MetricsSection = MetricsSection()
    """The listener that Prometheus scrapes."""
    log: LogSection = LogSection()
    """The daemon's log."""

    def to_planner_settings(self) -> PlannerSettings:
        """What the planner goes by."""
        migration = self.to_migration_settings()
        return PlannerSettings(
            **self.balance.model_dump(),
            max_inbound=self.limits.max_inbound,
            max_outbound=self.limits.max_outbound,
            bandwidth_mib_per_s=self.migration.expected_bandwidth_mib_per_s,
            migration=_means(migration),
            migration_classes=tuple(
                ClassMeans(vms=kind.vms, means=_means(kind.settings)) for kind in migration.classes
            ),
        )

    def to_limits(self) -> Limits:
        """What the gate lets through."""
        return Limits(**self.limits.model_dump())

    def to_migration_settings(self) -> MigrationSettings:
        """How migrations are run."""
        usual = MigrationSettings(**self.migration.model_dump(exclude={"expected_bandwidth_mib_per_s"}))
        classes = tuple(
            MigrationClass(kind.vms, replace(usual, **kind.model_dump(include=kind.model_fields_set - {"vms"})))
            for kind in self.migration_classes
        )
        return replace(usual, classes=classes)

    def to_retention(self) -> Retention:
        """What the journal keeps."""
        return Retention(**self.history.model_dump(exclude={"keep_load_seconds"}))

    def to_rules(self) -> Rules:
        """The placement rules."""
        return Rules(
            pins=tuple(Pin(pin.vm, pin.hosts, pin.strength) for pin in self.pins),
            anti_affinity=tuple(
                AntiAffinity(rule.vms, rule.strength, rule.max_per_host, rule.spread_over or None, rule.against)
                for rule in self.anti_affinity
            ),
            affinity=tuple(Affinity(rule.vms, rule.strength) for rule in self.affinity),
            priorities=tuple(Priority(entry.vms, entry.priority) for entry in self.priorities),
        )

    def to_host_addresses(self) -> tuple[HostAddress, ...]:
        """How the hosts are reached, in the file's order."""
        return tuple(host.to_address() for host in self.hosts)

    def mode_of(self, *, name: str, uuid: str, labels: dict[str, str], host: str | None) -> Mode:
        """What the daemon does by itself about a VM: its own mode, else that of the host it is on, else `mode`."""
        for entry in self.modes:
            if selects(entry.vm, name=name, uuid=uuid, labels=labels):
                return entry.mode
        for section in self.hosts:
            if section.name == host and section.mode is not None:
                return section.mode
        return self.mode

    def written(self) -> dict[str, object]:
        """As the operator would write it: keys of the file, quantities with their units. Round-trips."""
        return self.model_dump(mode="json", by_alias=True)


def _means(settings: MigrationSettings) -> MigrationMeans:
    return MigrationMeans(
        max_downtime_ms=settings.max_downtime_ms,
        downtime_limit_ms=settings.downtime_limit_ms,
        auto_converge=settings.auto_converge,
        post_copy=settings.post_copy,
    )
