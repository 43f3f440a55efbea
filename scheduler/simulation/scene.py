"""A snapshot brought to life: its hosts and VMs in a simulated cluster, on a clock of its own."""

from collections.abc import Iterable
from random import Random
from typing import Final

from ..cluster.model import Host, HostState, Snapshot, Vm, VmState
from ..cluster.observation import DomainFacts, HostFacts
from ..cluster.settings import PlannerSettings
from ..planner.cost import GUEST_SLOWDOWN, HOST_CORES
from .clock import ManualClock
from .cluster import SimulatedCluster
from .load import Wanted
from .transfer import Burden

LEAST_FACTOR: Final = 0.1
"""So much of what was promised is there, however wrong the forecast."""


class Scene:
    """One cluster that a policy steers, from second 0 on.

    By chance, from `seed`: a part of the migrations, `failing_ratio`, breaks off, and what forecasts rest on is wrong
    by up to `forecast_error_ratio`: links are faster or slower than promised, guests write more or less than is told.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        settings: PlannerSettings,
        *,
        seed: int,
        failing_ratio: float = 0.0,
        forecast_error_ratio: float = 0.0,
    ) -> None:
        self.snapshot = snapshot
        self.states = {host.name: host.state for host in snapshot.hosts}
        """Of the hosts, as the script has them now."""
        self.clock = ManualClock(wall=snapshot.taken_at.timestamp())
        self.cluster = SimulatedCluster(self.clock.monotonic, self.clock.sleep)
        # One stream for each kind: looks and migrations of one moment may come in either order.
        failing, links, looks = (Random(f"{seed} {kind}") for kind in ("failing", "links", "looks"))  # noqa: S311 - to be repeated

        def wrong_by(chance: Random) -> float:
            return max(LEAST_FACTOR, 1.0 + chance.uniform(-forecast_error_ratio, forecast_error_ratio))

        self.cluster.link_mib_per_s = settings.bandwidth_mib_per_s
        self.cluster.burden = Burden(
            host_cores=HOST_CORES / 2,
            guest_ratio=GUEST_SLOWDOWN,
            breaks_at=lambda: failing.random() if failing.random() < failing_ratio else None,
            bandwidth_factor=lambda: wrong_by(links),
            sampling_factor=lambda: wrong_by(looks),
        )
        for host in snapshot.hosts:
            facts = HostFacts(
                cpus=host.cpus,
                memory_mib=host.memory_mib,
                cpu_features=host.cpu_features,
                cpu_model=host.cpu_model,
                domain_types=host.domain_types,
                machine_types=host.machine_types,
                networks=host.networks,
                storage=host.storage,
                tsc_hz=host.tsc_hz,
                libvirt_version=host.libvirt_version or "",
                hypervisor_version=host.hypervisor_version or "",
            )
            self.cluster.add_host(host.name, facts)
            if host.state is HostState.UNREACHABLE:
                self.cluster.cut(host.name)
        for vm in snapshot.vms:
            if vm.host is not None:
                self._add(vm, vm.host)

    def set_loads(self, wanted: Iterable[Wanted]) -> None:
        """From now on."""
        self.cluster.count()
        for uuid, cores, memory_used_mib, dirty_mib_per_s in wanted:
            guest = self.cluster.guest(uuid)
            guest.demand_cores = cores
            if memory_used_mib is not None:
                guest.memory_used_mib = memory_used_mib
            if dirty_mib_per_s is not None:
                guest.dirty_mib_per_s = dirty_mib_per_s

    def free_memory_mib(self, host: Host) -> int:
        """What a host has left beside its reserve, its VMs and those on their way to it."""
        domains = self.cluster.host(host.name).domains.values()
        taken = sum(domain.facts.memory_mib for domain in domains if domain.state is not VmState.STOPPED)
        return host.memory_mib - host.reserved_memory_mib - taken

    def _add(self, vm: Vm, host: str) -> None:
        blockers = vm.blockers or (() if vm.movable else ("it is not movable",))
        facts = DomainFacts(
            vcpus=vm.vcpus,
            memory_mib=vm.memory_mib,
            virt_type=vm.domain_type or "kvm",
            machine_type=vm.machine_type,
            required_cpu_features=vm.required_cpu_features,
            networks=vm.networks,
            storage=vm.storage,
            blockers=blockers,
            local_disks=vm.local_disks,
            tsc_hz=vm.tsc_hz,
            labels=vm.labels,
        )
        self.cluster.add_vm(host, vm.name, facts, uuid=vm.uuid, running=vm.active)
        if vm.state is VmState.PAUSED:
            self.cluster.host(host).domains[vm.uuid].state = VmState.PAUSED
        guest = self.cluster.guest(vm.uuid)
        guest.demand_cores = vm.cpu_demand_cores or 0.0
        guest.memory_used_mib = vm.memory_used_mib
        guest.dirty_mib_per_s = vm.dirty_mib_per_s or 0.0
