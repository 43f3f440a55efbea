"""A canonical order of hosts and VMs: by what they are, and by name only where nothing else tells them apart.

Every tie in planning is broken by position, so renaming or reordering a cluster changes no plan but its names.
"""

from dataclasses import replace

from ..cluster.model import Host, Snapshot, Vm
from ..cluster.rules import selected_by_any, selects


def canonical(snapshot: Snapshot, seed: int = 0) -> Snapshot:
    """`snapshot` in canonical order; `seed` turns the order of the hosts, and so which of two equals wins."""
    vm_keys = {vm.uuid: _vm_key(snapshot, vm) for vm in snapshot.vms}
    vms = sorted(snapshot.vms, key=lambda vm: (vm_keys[vm.uuid], vm.name, vm.uuid))
    carried: dict[str | None, list[tuple[object, ...]]] = {}
    for vm in vms:
        carried.setdefault(vm.host, []).append(vm_keys[vm.uuid])
    hosts = sorted(snapshot.hosts, key=lambda host: (_host_key(snapshot, host), carried.get(host.name, []), host.name))
    turn = seed % max(1, len(hosts))
    return replace(snapshot, hosts=(*hosts[turn:], *hosts[:turn]), vms=tuple(vms))


def _vm_key(snapshot: Snapshot, vm: Vm) -> tuple[object, ...]:
    rules = snapshot.rules
    selectors = [
        *(rule.vms for rule in rules.anti_affinity),
        *(rule.against for rule in rules.anti_affinity),
        *(rule.vms for rule in rules.affinity),
    ]
    spoken_of = tuple(
        [selects(pin.vm, name=vm.name, uuid=vm.uuid, labels=vm.labels) for pin in rules.pins]
        + [selected_by_any(of, name=vm.name, uuid=vm.uuid, labels=vm.labels) for of in selectors]
    )
    return (
        # Of VMs whose moves would do as well, the least important one comes first and is moved.
        snapshot.priority(vm),
        -vm.memory_mib,
        vm.vcpus,
        vm.state.value,
        vm.cpu_demand_cores or 0.0,
        vm.cpu_demand_high_cores or 0.0,
        vm.cpu_wait_ratio or 0.0,
        vm.memory_used_mib or 0.0,
        vm.dirty_mib_per_s or 0.0,
        vm.movable,
        vm.hold is None,
        vm.destination is None,
        len(vm.not_to),
        sorted(vm.required_cpu_features or ()),
        spoken_of,
    )


def _host_key(snapshot: Snapshot, host: Host) -> tuple[object, ...]:
    return (
        -host.cpus,
        -host.memory_mib,
        host.reserved_memory_mib,
        host.state.value,
        host.stale,
        host.cpu_used_cores or 0.0,
        host.contended_seconds or 0.0,
        sorted(host.cpu_features or ()),
        [pin.allows(host.name) for pin in snapshot.rules.pins],
        [host.labels.get(rule.spread_over or "", "") for rule in snapshot.rules.anti_affinity],
    )
