"""Figures that cannot be: a unit misread by a factor of 1,024, a counter that jumped. They are doubted, never acted on.

The limits are far outside what machines have, so that no true figure is doubted. What is doubted of a VM counts as
unknown; a host with such a figure takes part in nothing but giving VMs away when it is drained or a rule asks for it.
"""

from typing import Final

from .model import Host, Snapshot, Vm

MOST_MIB_PER_CPU: Final = 1024 * 1024
"""Memory of a host for each of its CPUs; the largest machines have a tenth of it."""
MOST_CPUS: Final = 8192
"""What a Linux kernel can have."""
MOST_DEMAND_PER_VCPU: Final = 2.0
"""Used and waited for; above one for what QEMU does beside the vCPUs, and for what is told of two moments."""
EXTRA_CORES: Final = 2.0
"""What QEMU's own threads (disks, network, display) may use beside that, and what others may seem to use of a host."""


def doubted_demand(vm: Vm) -> str | None:
    """Why the demand of `vm` is not believed; None when it is, or is unknown."""
    most = MOST_DEMAND_PER_VCPU * vm.vcpus + EXTRA_CORES
    for cores in (vm.cpu_demand_cores, vm.cpu_demand_high_cores):
        if cores is not None and cores > most:
            return f"its demand of {cores:,.4g} cores is more than {vm.vcpus} vCPUs can have"
    return None


def believed_demand(vm: Vm) -> float | None:
    """Its mean demand in cores; None when it is unknown or not believed."""
    return vm.cpu_demand_cores if doubted_demand(vm) is None else None


def doubted_hosts(snapshot: Snapshot) -> dict[str, str]:
    """Hosts whose figures are not believed, by name, and why."""
    found = {host.name: doubt for host in snapshot.hosts if (doubt := _doubted(host)) is not None}
    memory_mib = {host.name: host.memory_mib for host in snapshot.hosts}
    for vm in snapshot.vms:
        if vm.active and vm.host is not None and vm.memory_mib > memory_mib[vm.host]:
            has = f"{memory_mib[vm.host]:,} MiB that the host has"
            found.setdefault(vm.host, f"{vm.name} runs there with {vm.memory_mib:,} MiB, more than the {has}")
    return found


def _doubted(host: Host) -> str | None:
    if host.cpus > MOST_CPUS:
        return f"{host.cpus:,} CPUs are more than a kernel can have"
    if host.memory_mib > MOST_MIB_PER_CPU * max(1, host.cpus):
        return f"{host.memory_mib:,} MiB of memory for {host.cpus} CPUs cannot be"
    used = host.cpu_used_cores
    if used is not None and used > host.cpus + EXTRA_CORES:
        return f"{used:,.4g} cores used on {host.cpus} CPUs cannot be"
    return None
