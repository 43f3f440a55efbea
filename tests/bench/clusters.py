"""Generated clusters, harsher than most real ones: full hosts beside freshly added, empty ones.

Per host 15 to 20 VMs of 1 to 32 vCPUs and 2 to 64 GiB; memory is taken to about 57 % of the cluster and at most 95 % of
a host, two vCPUs share a CPU, demand is Beta(1.1, 3.2) of the vCPUs, and a tenth of the hosts is empty.
"""

from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Final

from scheduler.cluster.model import Host, Snapshot, Vm

TAKEN_AT: Final = datetime(2026, 11, 23, tzinfo=UTC)
FLAVOURS: Final = ((1, 2), (1, 4), (2, 4), (2, 8), (4, 8), (4, 16), (8, 16), (8, 32), (16, 32), (16, 64), (32, 64))
"""vCPUs and GiB."""
FREQUENCY: Final = (14, 12, 16, 14, 14, 10, 8, 6, 3, 2, 1)
MEMORY_TAKEN: Final = 0.57
FULLEST: Final = 0.95
EMPTY: Final = 0.1


def generated(hosts: int, vms: int, *, seed: int, mixed: bool = False) -> Snapshot:
    """A cluster; `mixed` hosts have half, once or one and a half times the size of equal ones."""
    random = Random(f"{hosts} {vms} {seed} {mixed}")
    guests = [_vm(random, number) for number in range(vms)]
    sizes = [random.choice((0.5, 1.0, 1.5)) if mixed else 1.0 for _ in range(hosts)]
    memory_mib = sum(vm.memory_mib for vm in guests) / MEMORY_TAKEN / sum(sizes)
    cpus = sum(vm.vcpus for vm in guests) / 2 / sum(sizes)
    machines = [
        Host(name=f"host{number:04}", cpus=max(2, round(cpus * size)), memory_mib=round(memory_mib * size))
        for number, size in enumerate(sizes)
    ]
    return Snapshot(taken_at=TAKEN_AT, hosts=tuple(machines), vms=_settled(random, machines, guests))


def _vm(random: Random, number: int) -> Vm:
    vcpus, memory_gib = random.choices(FLAVOURS, FREQUENCY)[0]
    return Vm(
        name=f"vm{number:05}",
        uuid=f"vm{number:05}",
        vcpus=vcpus,
        memory_mib=memory_gib * 1024,
        cpu_demand_cores=round(vcpus * random.betavariate(1.1, 3.2), 3),
    )


def _settled(random: Random, hosts: list[Host], vms: list[Vm]) -> tuple[Vm, ...]:
    """Every VM on a host that is not new, at random where memory and CPU allow it, the largest first."""
    old = hosts[: len(hosts) - max(1, round(EMPTY * len(hosts)))]
    memory = {host.name: FULLEST * host.memory_mib for host in old}
    cpus = {host.name: FULLEST * host.cpus for host in old}
    settled: list[Vm] = []
    for vm in sorted(vms, key=lambda vm: -vm.memory_mib):
        demand = vm.cpu_demand_cores or 0.0
        fit = [host.name for host in old if memory[host.name] >= vm.memory_mib and cpus[host.name] >= demand]
        name = random.choice(fit)
        memory[name] -= vm.memory_mib
        cpus[name] -= demand
        settled.append(replace(vm, host=name))
    return tuple(sorted(settled, key=lambda vm: vm.name))
