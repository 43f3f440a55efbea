"""A canonical order of hosts and VMs: by what they are, and by name only where nothing else tells them apart.

Every tie in planning is broken by position, so renaming or reordering a cluster changes no plan but its names.
"""

from dataclasses import replace

import numpy as np

from ..cluster.model import Host, Snapshot, Vm
from .relations import Relations, ranks


def canonical(snapshot: Snapshot, seed: int = 0) -> Snapshot:
    """`snapshot` in canonical order; `seed` turns the order of the hosts, and so which of two equals wins."""
    vms = ranks([_vm_key(snapshot, vm) for vm in snapshot.vms])
    carried: dict[str | None, list[int]] = {}
    for vm, rank in zip(snapshot.vms, vms, strict=True):
        carried.setdefault(vm.host, []).append(int(rank))
    hosts = ranks([(*_host_key(snapshot, host), tuple(sorted(carried.get(host.name, ())))) for host in snapshot.hosts])
    names = ranks([host.name for host in snapshot.hosts]), ranks([(vm.name, vm.uuid) for vm in snapshot.vms])
    host_order, vm_order = Relations(snapshot).order(np.concatenate([hosts, vms]), np.concatenate(names))
    ordered = [snapshot.hosts[index] for index in host_order]
    turn = seed % max(1, len(ordered))
    return replace(
        snapshot,
        hosts=(*ordered[turn:], *ordered[:turn]),
        vms=tuple(snapshot.vms[index] for index in vm_order),
    )


def _vm_key(snapshot: Snapshot, vm: Vm) -> tuple[object, ...]:
    return (
        # Of VMs whose moves would do as well, the least important one comes first and is moved.
        snapshot.priority(vm),
        -vm.memory_mib,
        vm.vcpus,
        vm.state.value,
        _figure(vm.cpu_demand_cores),
        _figure(vm.cpu_demand_high_cores),
        _figure(vm.cpu_wait_ratio),
        _figure(vm.memory_used_mib),
        _figure(vm.dirty_mib_per_s),
        _figure(vm.migration_overrun_factor),
        vm.movable,
        vm.hold is None,
        vm.quarantine is None,
        _names(vm.required_cpu_features),
        vm.domain_type or "",
        vm.machine_type or "",
        _names(vm.networks),
        _names(vm.storage),
        _figure(vm.tsc_hz),
        sum(disk.size_mib or 0.0 for disk in vm.copied_disks),
    )


def _host_key(snapshot: Snapshot, host: Host) -> tuple[object, ...]:
    return (
        -host.cpus,
        -host.memory_mib,
        host.reserved_memory_mib,
        host.state.value,
        host.stale,
        _figure(host.cpu_used_cores),
        _figure(host.contended_seconds),
        _figure(host.expected_contended_seconds),
        _figure(host.migration_overrun_factor),
        _names(host.cpu_features),
        _names(host.domain_types),
        _names(host.machine_types),
        _names(host.networks),
        _names(host.storage),
        _figure(host.tsc_hz),
        tuple(version or "" for version in host.versions),
        tuple(host.labels.get(rule.spread_over or "", "") for rule in snapshot.rules.anti_affinity),
    )


def _figure(figure: float | None) -> tuple[bool, float]:
    return figure is None, figure or 0.0


def _names(names: frozenset[str] | None) -> tuple[bool, tuple[str, ...]]:
    return names is None, tuple(sorted(names or ()))
