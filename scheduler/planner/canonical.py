"""A canonical order of hosts and VMs: by what they are, and by name only where nothing else tells them apart.

Every tie in planning is broken by position, so renaming or reordering a cluster changes no plan but its names.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..cluster.model import Host, Snapshot, Vm
from ..cluster.rules import selected_by_any, selects

_Key = tuple[object, ...]


def canonical(snapshot: Snapshot, seed: int = 0) -> Snapshot:
    """`snapshot` in canonical order; `seed` turns the order of the hosts, and so which of two equals wins."""
    vm_keys = {vm.uuid: _vm_key(snapshot, vm) for vm in snapshot.vms}
    vms = sorted(snapshot.vms, key=lambda vm: (vm_keys[vm.uuid], vm.name, vm.uuid))
    concerned = _concerned(vms, vm_keys)
    hosts = sorted(snapshot.hosts, key=lambda host: (_host_key(snapshot, host), concerned[host.name], host.name))
    turn = seed % max(1, len(hosts))
    return replace(snapshot, hosts=(*hosts[turn:], *hosts[:turn]), vms=tuple(vms))


def _concerned(vms: Sequence[Vm], keys: Mapping[str, _Key]) -> Mapping[str, list[_Key]]:
    """What VMs have to do with each host: run there, go there, may not go there, are defined there."""
    found: dict[str, list[_Key]] = defaultdict(list)
    for vm in vms:
        ties = ((vm.host,), (vm.destination,), vm.not_to, vm.cpu_missing_on, vm.defined_on)
        for kind, names in enumerate(ties):
            for name in names:
                if name is not None:
                    found[name].append((kind, *keys[vm.uuid]))
    return found


def _vm_key(snapshot: Snapshot, vm: Vm) -> _Key:
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
        vm.quarantine is None,
        _known(vm.required_cpu_features),
        sorted(map(sorted, vm.cpu_missing_on.values())),
        vm.machine_type or "",
        sorted(vm.networks),
        sorted(vm.storage),
        len(vm.defined_on),
        spoken_of,
    )


def _host_key(snapshot: Snapshot, host: Host) -> _Key:
    return (
        -host.cpus,
        -host.memory_mib,
        host.reserved_memory_mib,
        host.state.value,
        host.stale,
        host.hypervisor_version or "",
        host.cpu_used_cores or 0.0,
        host.contended_seconds or 0.0,
        host.expected_contended_seconds or 0.0,
        *map(_known, (host.cpu_features, host.machine_types, host.networks, host.storage)),
        [pin.allows(host.name) for pin in snapshot.rules.pins],
        [host.labels.get(rule.spread_over or "", "") for rule in snapshot.rules.anti_affinity],
    )


def _known(names: frozenset[str] | None) -> tuple[bool, list[str]]:
    return names is not None, sorted(names or ())
