"""Host, Vm and Snapshot: the whole cluster at one moment, immutable.

The fields are the contract of `virt-scheduler snapshot` (see `virt-scheduler schema snapshot`). A field that is None
is unknown, which is never the same as zero: what cannot be known is not acted on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from posixpath import dirname

from .rules import Rules, selected_by_any
from .settings import PlannerSettings
from .versions import Versions


class HostState(StrEnum):
    """What a host may be used for."""

    UP = "up"
    MAINTENANCE = "maintenance"
    """Cordoned or draining: nothing may move to it or start on it, its VMs may leave."""
    UNREACHABLE = "unreachable"
    """Its libvirt does not answer: takes part in nothing."""


class VmState(StrEnum):
    """What a VM is doing, as far as scheduling cares."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDisk:
    """A file on storage of its host's own that libvirt can copy while the VM runs."""

    target: str
    """What the guest knows it by, `vda`."""
    path: str
    size_mib: float | None = None
    """What it takes on its host. None: unknown, taken for 0."""

    @property
    def directory(self) -> str:
        """Where it is; a copy needs a storage pool there."""
        return dirname(self.path)

    @property
    def blocker(self) -> str:
        """What keeps its VM where it is, as long as it may not be copied."""
        return f"disk {self.target} on local storage: {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A libvirt host. Absent optional sets (None) are unknown and refuse nothing."""

    name: str
    cpus: int
    """Logical CPUs; 0, as its memory, of an unreachable host that was never seen."""
    memory_mib: int
    """All memory that the host's kernel has."""
    state: HostState = HostState.UP
    reserved_memory_mib: int = 0
    """Kept for the host itself; VMs never get it."""
    cpu_used_cores: float | None = None
    """CPU used by everything on the host, recent mean. None: the sum of its VMs' demand is taken."""
    cpu_features: frozenset[str] | None = None
    cpu_model: str | None = None
    domain_types: frozenset[str] | None = None
    """How it runs guests: `kvm`, `qemu` (emulation)."""
    machine_types: frozenset[str] | None = None
    networks: frozenset[str] | None = None
    """What a NIC can be plugged into: `network:NAME` and `bridge:NAME`."""
    storage: frozenset[str] | None = None
    """Active storage pools by name, and the directories they are."""
    libvirt_version: str | None = None
    hypervisor_version: str | None = None
    """Of QEMU, `7.2.22`."""
    tsc_hz: int | None = None
    """How fast its time stamp counter counts. None: unknown, or it gives each guest what it wants."""
    labels: Mapping[str, str] = field(default_factory=dict)
    stale: bool = False
    """Its figures are too old to decide on: it neither gives nor receives VMs."""
    contended_seconds: float | None = None
    """How long its VMs have been short of CPU or memory without a break. None: not tracked, taken as long enough."""
    migration_overrun_factor: float | None = None
    """As of a VM: how many times as long as predicted migrations from and to it took. None: about as predicted."""
    expected_contended_seconds: float | None = None
    """How long their high demand has been more than it can give; peaks themselves neither begin nor end that time.
    None: not tracked, `contended_seconds` is taken."""

    @property
    def versions(self) -> Versions:
        """Of libvirt and of QEMU."""
        return self.libvirt_version, self.hypervisor_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Vm:
    """A VM, wherever it is defined or runs."""

    name: str
    uuid: str
    vcpus: int
    memory_mib: int
    """What the host must hold for it: its maximum while it runs."""
    host: str | None = None
    """Where it runs; of a stopped VM where it is defined, or None."""
    state: VmState = VmState.RUNNING
    cpu_demand_cores: float | None = None
    """Cores used plus cores it waited for, recent mean. None: unknown, so no move is made because of its load."""
    cpu_demand_high_cores: float | None = None
    """A high percentile of the same over the window; guards a destination. None: the mean is taken."""
    cpu_wait_ratio: float | None = None
    """Share of time its vCPUs were ready to run but waited for a CPU, per vCPU (0..1)."""
    memory_used_mib: float | None = None
    """Memory that a migration has to carry. None: `memory_mib`."""
    dirty_mib_per_s: float | None = None
    """How much memory it writes, the higher one of the latest two samples. None: unknown, taken for 0."""
    required_cpu_features: frozenset[str] | None = None
    """What the guest's CPU shows to it. None: unknown."""
    cpu_missing_on: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """What the hosts' own libvirt answered, by host: empty means it can run there, else the features it lacks.

    A host that is absent was not asked or could not tell; then `required_cpu_features` decides.
    """
    domain_type: str | None = None
    """How it is run: `kvm`, `qemu`. None: however the host can."""
    machine_type: str | None = None
    networks: frozenset[str] = frozenset()
    storage: frozenset[str] = frozenset()
    movable: bool = True
    blockers: tuple[str, ...] = ()
    """Why it is not movable, a clause each: `PCI device 0000:3b:00.0 (hostdev)`."""
    local_disks: tuple[LocalDisk, ...] = ()
    """Those that could be copied along. Each is a blocker as well, unless the VM's class allows to copy it."""
    tsc_hz: int | None = None
    """How fast a time stamp counter its guest was promised. None: it was promised nothing."""
    hold: str | None = None
    """Why balancing leaves it alone for now (cooldown, a person moved it, its mode). None: it does not.

    Mending a broken must-rule and emptying a host do not care.
    """
    not_to: Mapping[str, str] = field(default_factory=dict)
    """Hosts to which balancing does not move it for now, and why: it came from there, a migration to there failed."""
    quarantine: str | None = None
    """Why a person must look at it before anything moves it at all. None: all is well."""
    destination: str | None = None
    """Where it is migrating to right now; it takes its room on both hosts."""
    defined_on: tuple[str, ...] = ()
    """All hosts that hold a definition of it, where that is known."""
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int | None = None
    """How important it is, -2 to 2. None: what the first of the rules' priorities that means it says, else 0."""
    migration_overrun_factor: float | None = None
    """How many times as long as predicted its latest migrations took, in the median. None: about as predicted."""

    @property
    def active(self) -> bool:
        """Whether it takes room on its host: running or paused."""
        return self.state is not VmState.STOPPED

    @property
    def copied_disks(self) -> tuple[LocalDisk, ...]:
        """What a migration copies besides its memory."""
        return self.local_disks if self.active and self.movable else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How fast migrations went from one host to another. Each direction is a link of its own."""

    source: str
    destination: str
    bandwidth_mib_per_s: float
    """Of all bytes sent, those that were sent again included; 1 or more."""
    overhead_seconds: float
    """What a migration takes besides sending: connecting, starting the receiver, switching over, checking."""
    downtime_ms: float | None = None
    """How long guests stood still, in the median. None: not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The whole cluster at one moment."""

    taken_at: datetime
    hosts: tuple[Host, ...]
    vms: tuple[Vm, ...]
    rules: Rules = field(default_factory=Rules)
    links: tuple[Link, ...] = ()
    """Those over which something has been measured; of the others the settings' bandwidth is assumed."""
    version: int = 1
    settings: PlannerSettings | None = None
    """What plans go by. None: the defaults."""
    drain: tuple[str, ...] | None = None
    """Hosts that were being emptied by the plan that was made of it. None: it was no drain."""

    def host(self, name: str) -> Host:
        """The host of that name; KeyError when there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    def priority(self, vm: Vm) -> int:
        """How important `vm` is, which the snapshot need not have: its own priority, or what the rules say."""
        if vm.priority is not None:
            return vm.priority
        for rule in self.rules.priorities:
            if selected_by_any(rule.vms, name=vm.name, uuid=vm.uuid, labels=vm.labels):
                return rule.priority
        return 0

    def vm(self, name_or_uuid: str) -> Vm:
        """The VM of that name or UUID; KeyError when there is none or the name means several."""
        found = [vm for vm in self.vms if name_or_uuid in (vm.uuid, vm.name)]
        if len(found) != 1:
            raise KeyError(name_or_uuid)
        return found[0]
