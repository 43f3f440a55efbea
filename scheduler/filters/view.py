"""View: what the filters look at, as arrays over hosts and groups, and Need: what one VM requires of a host.

A View is built once from a Snapshot and then follows single moves in a few array operations, so that a search can ask
after each move what is allowed now.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from ..cluster.membership import Memberships, memberships
from ..cluster.model import Host, HostState, Snapshot, Vm
from ..cluster.plausible import doubted_hosts
from ..cluster.rules import Affinity, AntiAffinity
from ..cluster.versions import Versions

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

NOWHERE: Final = -1
"""In place of a host's index: on none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one VM requires of a host. Group members are positions in the snapshot's rules, must and should alike."""

    memory_mib: int
    host: int = NOWHERE
    """Where it is: its room there is its own, and it never stands in its own way."""
    live: bool = False
    """It runs, so it takes room on `host` and would be migrated live."""
    movable: bool = True
    blockers: tuple[str, ...] = ()
    required_cpu_features: frozenset[str] | None = None
    cpu_missing_on: Mapping[str, frozenset[str]] = field(default_factory=dict)
    domain_type: str | None = None
    machine_type: str | None = None
    versions: Versions = (None, None)
    """Those of the host where the snapshot has it running."""
    networks: frozenset[str] = frozenset()
    storage: frozenset[str] = frozenset()
    local_disks: bool = False
    """Some of its disks are on its host alone, also where a migration may copy them."""
    tsc_hz: int | None = None
    defined_elsewhere: frozenset[str] = frozenset()
    """Hosts other than its own that hold a definition of it."""
    namesakes_on: frozenset[str] = frozenset()
    """Hosts other than its own that know another VM of its name."""
    groups: Memberships = field(default_factory=Memberships)

    @property
    def kind(self) -> tuple[object, ...]:
        """What the static filters look at: VMs that have it in common share one mask.

        Where a VM is matters to them only when it cannot leave; a live VM's own host is never asked about in a search.
        """
        return (
            self.live,
            None if self.movable else self.host,
            self.required_cpu_features,
            frozenset(self.cpu_missing_on.items()),
            self.domain_type,
            self.machine_type,
            self.versions,
            self.networks,
            self.storage,
            self.tsc_hz,
            self.defined_elsewhere,
            self.namesakes_on,
            self.groups.pins,
        )


class View:
    """The hosts and VMs of a snapshot as arrays; host and VM indices are positions in the snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.hosts = snapshot.hosts
        self.vms = snapshot.vms
        self.anti_affinity: tuple[AntiAffinity, ...] = snapshot.rules.anti_affinity
        self.affinity: tuple[Affinity, ...] = snapshot.rules.affinity
        self.host_index = {host.name: index for index, host in enumerate(self.hosts)}
        self.up: BoolArray = np.array([host.state is HostState.UP for host in self.hosts], dtype=bool)
        self.stale: BoolArray = np.array([host.stale for host in self.hosts], dtype=bool)
        self.doubts = doubted_hosts(snapshot)
        """Why the figures of some hosts are not believed, by name."""
        self.doubted: BoolArray = np.array([host.name in self.doubts for host in self.hosts], dtype=bool)
        self.groups = memberships(snapshot.rules, self.vms)
        self._named: dict[str, list[Vm]] = defaultdict(list)
        for vm in self.vms:
            self._named[vm.name].append(vm)
        self.priority: IntArray = np.array([snapshot.priority(vm) for vm in self.vms], dtype=np.int64)
        self.memory_mib: IntArray = np.array([vm.memory_mib for vm in self.vms], dtype=np.int64)
        self.active: BoolArray = np.array([vm.active for vm in self.vms], dtype=bool)
        self.vm_host: IntArray = np.array(
            [NOWHERE if vm.host is None else self.host_index[vm.host] for vm in self.vms], dtype=np.int64
        )
        self.capacity_mib: IntArray = np.array(
            [host.memory_mib - host.reserved_memory_mib for host in self.hosts], dtype=np.int64
        )
        self.free_memory_mib: IntArray = self.capacity_mib.copy()
        self.domains = {group: _domains(self.hosts, rule) for group, rule in enumerate(self.anti_affinity)}
        """The failure domain of each host, shape (hosts,), of the groups that are spread over domains; others: None."""
        self.anti_affinity_counts: IntArray = np.zeros((len(self.anti_affinity), len(self.hosts)), dtype=np.int64)
        self.against_counts: IntArray = np.zeros_like(self.anti_affinity_counts)
        self.affinity_counts: IntArray = np.zeros((len(self.affinity), len(self.hosts)), dtype=np.int64)
        self.static_table: tuple[IntArray, BoolArray] | None = None
        """Kept by the registry; holds as long as no stopped VM is started."""
        self.in_groups: BoolArray = np.array([bool(of.anti_affinity or of.affinity) for of in self.groups], dtype=bool)
        self.static_masks: dict[tuple[object, ...], tuple[BoolArray, BoolArray]] = {}
        """Kept by the registry for each kind of VM; they do not depend on where VMs are."""
        for index in np.flatnonzero(self.active):
            self._occupy(int(index), int(self.vm_host[index]), 1)
            destination = self.vms[index].destination
            if destination is not None and destination != self.vms[index].host:
                self._occupy(int(index), self.host_index[destination], 1)

    def add(self, vm: Vm) -> int:
        """Take in one more VM, stopped; returns its index. One with the same UUID is no longer looked at."""
        self.vms = (*self.vms, vm)
        self._named[vm.name].append(vm)
        self.groups = (*self.groups, *memberships(self.snapshot.rules, (vm,)))
        self.priority = np.append(self.priority, self.snapshot.priority(vm))
        self.memory_mib = np.append(self.memory_mib, vm.memory_mib)
        self.active = np.append(self.active, False)
        self.vm_host = np.append(self.vm_host, NOWHERE if vm.host is None else self.host_index[vm.host])
        self.in_groups = np.append(self.in_groups, bool(self.groups[-1].anti_affinity or self.groups[-1].affinity))
        self.static_table = None
        return len(self.vms) - 1

    def vm_index(self, uuid: str) -> int:
        """The index of the VM with that UUID; KeyError when there is none."""
        for index, vm in enumerate(self.vms):
            if vm.uuid == uuid:
                return index
        raise KeyError(uuid)

    def need(self, vm: int) -> Need:
        """What that VM requires, seen from where it is now."""
        facts = self.vms[vm]
        return Need(
            memory_mib=facts.memory_mib,
            host=int(self.vm_host[vm]),
            live=bool(self.active[vm]),
            movable=facts.movable,
            blockers=facts.blockers,
            required_cpu_features=facts.required_cpu_features,
            cpu_missing_on=facts.cpu_missing_on,
            domain_type=facts.domain_type,
            machine_type=facts.machine_type,
            versions=self.hosts[self.host_index[facts.host]].versions if facts.active and facts.host else (None, None),
            networks=facts.networks,
            storage=facts.storage.union(disk.directory for disk in facts.copied_disks),
            local_disks=bool(facts.local_disks),
            tsc_hz=facts.tsc_hz,
            defined_elsewhere=frozenset(facts.defined_on) - {facts.host or ""},
            namesakes_on=_namesakes_on(facts, self._named[facts.name]),
            groups=self.groups[vm],
        )

    def move(self, vm: int, host: int) -> None:
        """Put that VM on `host`, running; what it held elsewhere is free again."""
        if self.active[vm]:
            self._occupy(vm, int(self.vm_host[vm]), -1)
        else:
            self.static_table = None
        self._occupy(vm, host, 1)
        self.vm_host[vm] = host
        self.active[vm] = True

    def stop(self, vm: int) -> None:
        """Take that VM from its host; what it held is free again."""
        self._occupy(vm, int(self.vm_host[vm]), -1)
        self.active[vm] = False
        self.static_table = None

    def hold(self, vm: int, host: int) -> None:
        """Take room for that VM on `host` beside where it is: it is on its way."""
        self._occupy(vm, host, 1)

    def release(self, vm: int, host: int) -> None:
        """Give back what `hold` took."""
        self._occupy(vm, host, -1)

    def copy(self) -> Self:
        """An independent view to try moves on."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        for name in (
            "vm_host",
            "active",
            "free_memory_mib",
            "anti_affinity_counts",
            "against_counts",
            "affinity_counts",
        ):
            setattr(twin, name, getattr(self, name).copy())
        return twin

    def others(self, counts: IntArray, need: Need) -> IntArray:
        """`counts` over hosts of one group that `need` is a member of, itself left out."""
        if not need.live:
            return counts
        others = counts.copy()
        others[need.host] -= 1
        return others

    def apart_from(self, group: int, need: Need) -> IntArray:
        """How many run on each host, or in its failure domain, that `need` keeps apart from by that rule, (hosts,).

        The others of its own group, or those of the other one where two groups keep apart.
        """
        if group in need.groups.against or not self.anti_affinity[group].against:
            counts: IntArray = self.anti_affinity_counts[group]
        else:
            counts = self.against_counts[group]
        if not need.live or self.anti_affinity[group].against:
            return counts
        others = counts.copy()
        others[self.counted_with(group, need.host)] -= 1
        return others

    def counted_with(self, group: int, host: int) -> int | BoolArray:
        """What an anti-affinity group counts together with `host`: the host, or a mask of its failure domain."""
        domains = self.domains[group]
        if domains is None:
            return host
        together: BoolArray = domains == domains[host]
        return together

    def _occupy(self, vm: int, host: int, sign: int) -> None:
        self.free_memory_mib[host] -= sign * self.memory_mib[vm]
        groups = self.groups[vm]
        for group in groups.anti_affinity:
            counts = self.against_counts if group in groups.against else self.anti_affinity_counts
            counts[group, self.counted_with(group, host)] += sign
        for group in groups.affinity:
            self.affinity_counts[group, host] += sign


def _domains(hosts: Sequence[Host], rule: AntiAffinity) -> IntArray | None:
    if rule.spread_over is None:
        return None
    values = [host.labels.get(rule.spread_over) for host in hosts]
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values)) if value is not None}
    return np.array(
        [len(values) + host if value is None else numbers[value] for host, value in enumerate(values)], dtype=np.int64
    )


def _namesakes_on(vm: Vm, named: Sequence[Vm]) -> frozenset[str]:
    """The hosts other than its own of the other VMs among those `named` like it."""
    if len(named) == 1:
        return frozenset()
    others = [other for other in named if other.uuid != vm.uuid]
    hosts = (host for other in others for host in (other.host, *other.defined_on))
    return frozenset(host for host in hosts if host is not None and host != vm.host)
