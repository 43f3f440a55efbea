"""What one look at one host's hypervisor shows: plain facts and counters, before any judgement.

Counters are those of the hypervisor (nanoseconds, since some start); rates are made of them in `demand`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .model import LocalDisk, VmState


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What of a host changes only with its hardware, its packages or its administrator."""

    cpus: int
    memory_mib: int
    cpu_features: frozenset[str] | None = None
    cpu_model: str | None = None
    domain_types: frozenset[str] | None = None
    machine_types: frozenset[str] | None = None
    networks: frozenset[str] | None = None
    storage: frozenset[str] | None = None
    uuid: str = ""
    """By which libvirt tells hosts apart; empty: it does not say."""
    tsc_hz: int | None = None
    """Of its time stamp counter; None: unknown, or it can give a guest any."""
    hypervisor_version: str = ""
    libvirt_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainFacts:
    """What a domain's XML says that a placement must know."""

    vcpus: int
    memory_mib: int
    arch: str = "x86_64"
    virt_type: str = "kvm"
    emulator: str | None = None
    machine_type: str | None = None
    cpu_xml: str | None = None
    """The `<cpu>` element as the running guest sees it; None when the XML names none."""
    required_cpu_features: frozenset[str] | None = None
    networks: frozenset[str] = frozenset()
    storage: frozenset[str] = frozenset()
    blockers: tuple[str, ...] = ()
    local_disks: tuple[LocalDisk, ...] = ()
    tsc_hz: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    placement_autostart: bool = False
    """The metadata asks that the daemon places and starts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainObservation:
    """One domain on one host at one moment."""

    uuid: str
    name: str
    state: VmState
    persistent: bool
    facts: DomainFacts
    autostart: bool = False
    domain_id: int | None = None
    """Changes with every new QEMU process, and so tells that counters began anew."""
    cpu_time_ns: int | None = None
    vcpu_delay_ns: int | None = None
    """Sum over vCPUs of time spent runnable but not running. None: this host does not tell."""
    memory_used_mib: float | None = None
    incoming: bool = False
    """It is the receiving half of a migration: not a VM yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostObservation:
    """One host and all its domains at one moment."""

    host: str
    monotonic_s: float
    """When it was looked at, on the observer's monotonic clock."""
    facts: HostFacts
    domains: tuple[DomainObservation, ...]
    cpu_busy_ns: int | None = None
    """Summed over CPUs: time not idle and not waiting for I/O, in the same seconds as the domains' counters."""
    memory_available_mib: float | None = None


class EventKind(StrEnum):
    """What happened to a domain or to the connection, as the hypervisor tells it. Hints only: state is truth."""

    DEFINED = "defined"
    UNDEFINED = "undefined"
    STARTED = "started"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    STOPPED = "stopped"
    CRASHED = "crashed"
    MIGRATED_IN = "migrated_in"
    MIGRATED_OUT = "migrated_out"
    CHANGED = "changed"
    """Metadata, a device or the balloon changed."""
    MIGRATION_ITERATION = "migration_iteration"
    JOB_COMPLETED = "job_completed"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of one host. `uuid` and `name` are empty for events of the connection itself."""

    host: str
    kind: EventKind
    monotonic_s: float
    uuid: str = ""
    name: str = ""
    detail: str = ""
    stats: Mapping[str, int | float | str] | None = None
    """The final statistics of a migration that ended (JOB_COMPLETED)."""
