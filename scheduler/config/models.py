"""The config as pydantic models: every key, its meaning, what is allowed and its default.

Fields carry the unit in their name (`hold_seconds`); in the file the value carries it (`hold = "2min"`), so a key is
its field's name without the unit. Sections that set something elsewhere take their defaults from there.
"""

import re
import socket
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from ..cluster.ports import HostAddress
from ..cluster.rules import PRIORITY_WEIGHTS, Affinity, AntiAffinity, Pin, Priority, Rules, Strength, selects
from ..operations.settings import Limits, MigrationSettings, Mode
from ..planner.settings import Objective, PlannerSettings
from .quantities import (
    Bandwidth,
    Count,
    DowntimeMs,
    Duration,
    OptionalBandwidth,
    OptionalCount,
    Ratio,
    SizeMib,
    Weight,
)

_PLANNER = PlannerSettings()
_LIMITS = Limits()
_MIGRATION = MigrationSettings()
_UNIT = re.compile(r"_(seconds|ms|mib_per_s|mib|ratio)(?=_|$)")


def key_of(field: str) -> str:
    """The key in the file for a field: `reserved_memory_mib` is written `reserved_memory`."""
    return _UNIT.sub("", field)


def _uri(value: str) -> str:
    if not urlsplit(value).scheme or (":///" not in value and not urlsplit(value).hostname):
        raise ValueError(f"{value!r} is no libvirt URI: write qemu:///system or qemu+tls://node1/system")
    return value


def _host_name(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+", value):
        raise ValueError(f"{value!r} is no host name: letters, digits, '.', '_' and '-'")
    return value


def _selector(value: str) -> str:
    if not value or value == "tag:" or value.startswith("tag:="):
        raise ValueError(f"{value!r} selects nothing: write a name, a glob, a UUID, tag:KEY or tag:KEY=VALUE")
    return value


def _priority(value: int) -> int:
    if value not in PRIORITY_WEIGHTS:
        raise ValueError(f"{value} is no priority; one of: {', '.join(map(str, PRIORITY_WEIGHTS))}")
    return value


def _listen(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if value and not (colon and host and port.isdigit() and 0 <= int(port) < 65536):
        raise ValueError(f'{value!r} is no address: write 127.0.0.1:9177, or "" for no listener')
    return value


def _absolute(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError(f"'{value}' must be an absolute path")
    return value


Uri = Annotated[str, AfterValidator(_uri)]
OptionalUri = Annotated[str, AfterValidator(lambda value: value and _uri(value))]
HostName = Annotated[str, AfterValidator(_host_name)]
Selector = Annotated[str, AfterValidator(_selector)]
Selectors = Annotated[tuple[Selector, ...], Field(min_length=1)]
HostGlobs = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class Section(BaseModel):
    """A table of the file: immutable, unknown keys refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=key_of,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )


class HostSection(Section):
    """A libvirt host."""

    name: HostName
    """What it is called here; need not be its DNS name."""
    uri: Uri
    """How the daemon reaches its libvirt."""
    peer_uri: OptionalUri = ""
    """How the other hosts' libvirt reaches it; `uri` when it is not given."""
    migration_address: str = ""
    """Its address in the migration network; libvirt chooses when it is not given."""
    reserved_memory_mib: SizeMib = 1024
    """Memory kept for the host itself; VMs never get it."""
    labels: dict[str, str] = {}
    """Free names, such as the rack."""
    mode: Annotated[Mode | None, Field(exclude_if=lambda mode: mode is None)] = None
    """The mode for VMs that run on it; `mode` of the cluster when it is not given."""

    def to_address(self) -> HostAddress:
        """As the hypervisor room wants it."""
        return HostAddress(
            name=self.name,
            uri=self.uri,
            peer_uri=self.peer_uri or self.uri,
            migration_address=self.migration_address or None,
        )


def local_host() -> HostSection:
    """This machine, which is the cluster when nothing else is configured."""
    name = re.sub(r"[^\w.-]", "-", socket.gethostname()) or "localhost"
    return HostSection(name=name, uri="qemu:///system")


class PinSection(Section):
    """VMs that belong on some hosts."""

    vm: Selector
    """A name, a glob over names, a UUID, `tag:KEY` or `tag:KEY=VALUE`."""
    hosts: HostGlobs
    """Names or globs of hosts."""
    strength: Strength = Strength.MUST
    """`must` is never broken, `should` has a cost."""


class AntiAffinitySection(Section):
    """VMs that keep apart."""

    vms: Selectors
    """Names, globs, UUIDs or tags; all VMs they mean are one group."""
    against: tuple[Selector, ...] = ()
    """Another group: none of `vms` shares a host with one of these. A VM that both mean is one of `vms`."""
    strength: Strength = Strength.MUST
    """`must` is never broken, `should` has a cost."""
    max_per_host: Count = 1
    """How many of the group may run on one host; not beside `against`."""
    spread_over: str = ""
    """A label of hosts, such as `rack`: hosts with the same value count as one; empty: each host counts alone."""


class AffinitySection(Section):
    """VMs that run together on one host."""

    vms: Selectors
    """Names, globs, UUIDs or tags; all VMs they mean are one group."""
    strength: Strength = Strength.MUST
    """`must` is never broken, `should` has a cost."""


class PrioritySection(Section):
    """How important VMs are."""

    vms: Selectors
    """Names, globs, UUIDs or tags; the first entry that means a VM counts."""
    priority: Annotated[int, Field(strict=True), AfterValidator(_priority)]
    """-2, -1, 0 (usual), 1 or 2: each weighs twice as much as the one before."""


class ModeSection(Section):
    """The mode of some VMs."""

    vm: Selector
    """A name, a glob over names, a UUID, `tag:KEY` or `tag:KEY=VALUE`."""
    mode: Mode
    """Theirs instead of their host's or the cluster's; the first entry that means a VM counts."""


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
    """Part of all VMs that balancing may move in an hour, at least one VM."""
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


class MigrationSection(Section):
    """How migrations are run."""

    bandwidth_mib_per_s: OptionalBandwidth = _MIGRATION.bandwidth_mib_per_s
    """Cap of one migration, such as `500MiB/s`, or `unlimited`."""
    expected_bandwidth_mib_per_s: Bandwidth = int(_PLANNER.bandwidth_mib_per_s)
    """Taken for predictions between two hosts of which nothing has been measured yet."""
    max_downtime_ms: DowntimeMs = _MIGRATION.max_downtime_ms
    """How long the guest may stand still at the end; at most a minute."""
    auto_converge: StrictBool = _MIGRATION.auto_converge
    """Let QEMU slow down a guest that writes memory faster than it can be carried over."""
    timeout_seconds: Annotated[Duration, Field(gt=0)] = _MIGRATION.timeout_seconds
    """A migration that takes longer is aborted; the VM stays where it was."""


class ApiSection(Section):
    """The HTTP API that the commands use."""

    socket: AbsolutePath = Path("/run/virt-scheduler/api.sock")
    """Its unix socket."""


class MetricsSection(Section):
    """The listener that Prometheus scrapes."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:9177"
    """ADDRESS:PORT, or empty for none."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to listen on; None: no listener."""
        host, _, port = self.listen.rpartition(":")
        return (host.strip("[]"), int(port)) if self.listen else None


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line looks."""

    AUTO = "auto"
    """Text on a terminal, JSON elsewhere."""
    JSON = "json"
    TEXT = "text"


class LogSection(Section):
    """The daemon's log, on standard error."""

    level: LogLevel = LogLevel.INFO
    """`debug`, `info`, `warning` or `error`."""
    format: LogFormat = LogFormat.AUTO
    """`auto`: text on a terminal, JSON elsewhere; `json`; `text`."""


class Config(Section):
    """The whole file. Without it one host, this machine, is scheduled."""

    mode: Mode = Mode.RECOMMEND
    """What the daemon does by itself: `observe` nothing, `recommend` moves for approval, `auto` does them."""
    state_directory: AbsolutePath = Path("/var/lib/virt-scheduler")
    """Where the journal is kept."""
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
    api: ApiSection = ApiSection()
    """The HTTP API that the commands use."""
    metrics: MetricsSection = MetricsSection()
    """The listener that Prometheus scrapes."""
    log: LogSection = LogSection()
    """The daemon's log."""

    def to_planner_settings(self) -> PlannerSettings:
        """What the planner goes by."""
        return PlannerSettings(
            **self.balance.model_dump(),
            max_inbound=self.limits.max_inbound,
            max_outbound=self.limits.max_outbound,
            bandwidth_mib_per_s=self.migration.expected_bandwidth_mib_per_s,
        )

    def to_limits(self) -> Limits:
        """What the gate lets through."""
        return Limits(**self.limits.model_dump())

    def to_migration_settings(self) -> MigrationSettings:
        """How migrations are run."""
        return MigrationSettings(**self.migration.model_dump(exclude={"expected_bandwidth_mib_per_s"}))

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
