"""What a live migration costs: how long it takes, how long the guest stands still, whether it ends at all.

Pre-copy carries the memory, then what the guest has dirtied meanwhile, and so on: each round takes `dirty rate /
bandwidth` of the one before. It ends when what is left fits into the allowed downtime.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from math import ceil, log
from statistics import median
from typing import Final

from ..cluster.model import Host, Snapshot, Vm
from ..cluster.plausible import believed_demand
from ..cluster.reason import Reason
from ..cluster.rules import selected_by_any
from ..cluster.settings import MigrationMeans
from .settings import PlannerSettings

CODE = "will_not_converge"
CODE_OVERRUNS = "migrations_overrun"
"""Of a VM or host that is treated more carefully; not a refusal."""

SETUP_SECONDS: Final = 2.0
"""Connecting, starting the receiving QEMU, switching over, where it was never measured."""
CONVERGENCE_LIMIT: Final = 0.8
"""Above this part of the bandwidth, dirtied memory outruns a migration as soon as the guest gets a little busier."""
GUEST_SLOWDOWN: Final = 0.1
"""Part of its CPU that a guest loses to dirty page tracking while it is carried."""
HOST_CORES: Final = 1.0
"""CPU that sender and receiver spend together while carrying."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationCost:
    """A prediction."""

    seconds: float
    downtime_ms: float
    transferred_mib: float
    """All that is sent, memory that was written meanwhile again, and disks that are copied."""
    helped_by: str
    """What a migration of a guest that writes faster than can be sent ends by: `downtime_limit`, `auto_converge`,
    `post_copy`; empty where it ends by itself, or not at all."""
    core_seconds: float
    """CPU that the migration takes from guests and hosts; more of a VM whose predictions have been too hopeful."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast migrations go."""

    bandwidth_mib_per_s: float
    overhead_seconds: float = SETUP_SECONDS
    """What one takes besides sending memory."""
    downtime_ms: float = 0.0
    """How long guests stood still, where it was measured: switching over takes its time, too."""
    means: MigrationMeans = field(default_factory=MigrationMeans)
    """By what it ends where the guest writes faster than can be sent."""
    overrun_factor: float = 1.0
    """How many times as long as predicted migrations there took; 1 where about as predicted."""


class Paces:
    """How fast migrations between the hosts of a snapshot go: as measured there, else as the settings assume."""

    def __init__(self, snapshot: Snapshot, settings: PlannerSettings) -> None:
        self._assumed = Pace(settings.bandwidth_mib_per_s, means=settings.migration)
        self._classes = settings.migration_classes
        self._overruns = {host.name: factor for host in snapshot.hosts if (factor := host.migration_overrun_factor)}
        self._links: dict[tuple[str, str], Pace] = {}
        from_host: defaultdict[str, list[Pace]] = defaultdict(list)
        for link in snapshot.links:
            pace = replace(
                self._assumed,
                bandwidth_mib_per_s=link.bandwidth_mib_per_s,
                overhead_seconds=link.overhead_seconds,
                downtime_ms=link.downtime_ms or 0.0,
            )
            self._links[link.source, link.destination] = pace
            from_host[link.source].append(pace)
        self._leaving = {host: self._middle(paces) for host, paces in from_host.items()}

    def between(self, vm: Vm, source: str, destination: str) -> Pace:
        """Of `vm` from one host to another."""
        pace = self._careful(self._links.get((source, destination), self._assumed), source, destination)
        return self._by_means(vm, pace)

    def leaving(self, vm: Vm) -> Pace:
        """Of `vm` from its host to any other: the median of what is known."""
        if vm.host is None:
            return self._by_means(vm, self._assumed)
        return self._by_means(vm, self._careful(self._leaving.get(vm.host, self._assumed), vm.host))

    def _by_means(self, vm: Vm, pace: Pace) -> Pace:
        for kind in self._classes:
            if selected_by_any(kind.vms, name=vm.name, uuid=vm.uuid, labels=vm.labels):
                return replace(pace, means=kind.means)
        return pace

    def _careful(self, pace: Pace, *hosts: str) -> Pace:
        factor = max(self._overruns.get(host, 1.0) for host in hosts)
        return replace(pace, overrun_factor=factor) if factor > 1 else pace

    def _middle(self, paces: list[Pace]) -> Pace:
        return replace(
            self._assumed,
            bandwidth_mib_per_s=median(pace.bandwidth_mib_per_s for pace in paces),
            overhead_seconds=median(pace.overhead_seconds for pace in paces),
            downtime_ms=median(pace.downtime_ms for pace in paces),
        )


def predict(vm: Vm, pace: Pace) -> MigrationCost:
    """The cost of migrating `vm` at that pace.

    For a VM that will not converge it is the cost of the rounds until the limit above, a lower bound.
    """
    bandwidth = pace.bandwidth_mib_per_s
    memory = carried_mib(vm)
    ratio = min((vm.dirty_mib_per_s or 0.0) / bandwidth, CONVERGENCE_LIMIT)
    final = pace.means.max_downtime_ms / 1000 * bandwidth
    helped_by = help_for(vm, pace) or ""
    rounds = max(1, ceil(log(final / memory) / log(ratio))) if ratio > 0 and memory > final else 1
    if helped_by == "downtime_limit":
        rounds = 1
    left = memory * ratio**rounds
    sent = memory * (1 - ratio**rounds) / (1 - ratio)
    disks = sum(disk.size_mib or 0.0 for disk in vm.copied_disks)
    seconds = pace.overhead_seconds + (sent + disks) / bandwidth
    return MigrationCost(
        seconds=seconds,
        downtime_ms=max(0.0 if helped_by == "post_copy" else 1000 * left / bandwidth, pace.downtime_ms),
        transferred_mib=sent + left + disks,
        helped_by=helped_by,
        core_seconds=seconds
        * max(1.0, vm.migration_overrun_factor or 1.0, pace.overrun_factor)
        * (HOST_CORES + GUEST_SLOWDOWN * (believed_demand(vm) or 0.0)),
    )


def carried_mib(vm: Vm) -> float:
    """Memory that a migration has to carry; no figure makes it more than all of the VM's."""
    return float(vm.memory_mib if vm.memory_used_mib is None else min(vm.memory_used_mib, vm.memory_mib))


def help_for(vm: Vm, pace: Pace) -> str | None:
    """What a migration of `vm` needs to end, see `MigrationCost.helped_by`: empty: nothing; None: nothing helps.

    The mildest that the means allow, in the order in which a migration that stalls is helped.
    """
    bandwidth, means = pace.bandwidth_mib_per_s, pace.means
    # Memory that fits into the downtime as a whole does so however often it is written.
    shortest_ms = 1000 * carried_mib(vm) / bandwidth
    if (vm.dirty_mib_per_s or 0.0) <= CONVERGENCE_LIMIT * bandwidth or shortest_ms <= means.max_downtime_ms:
        return ""
    if shortest_ms <= means.downtime_limit_ms:
        return "downtime_limit"
    if means.auto_converge:
        return "auto_converge"
    return "post_copy" if means.post_copy else None


def convergence(vm: Vm, pace: Pace) -> Reason | None:
    """Why a migration of `vm` would not end; None when it would."""
    if help_for(vm, pace) is not None:
        return None
    dirty, bandwidth = vm.dirty_mib_per_s or 0.0, pace.bandwidth_mib_per_s
    return Reason(
        CODE,
        f"dirties {dirty:,.0f} MiB/s, a migration carries {bandwidth:,.0f} MiB/s and would not end",
        dirty_mib_per_s=dirty,
        bandwidth_mib_per_s=bandwidth,
        remedy="let a migration class with auto_converge or post_copy mean it",
    )


def cautions(vm: Vm, *hosts: Host) -> tuple[Reason, ...]:
    """Why moves of `vm` from and to these hosts have to gain more than others; empty when they need not."""
    overrun = [("its latest migrations", vm.migration_overrun_factor)]
    overrun += [(f"the latest migrations from and to {host.name}", host.migration_overrun_factor) for host in hosts]
    return tuple(
        Reason(
            CODE_OVERRUNS,
            f"{whose} took {factor:.1f} times as long as predicted: moving it has to gain that much more",
            factor=factor,
        )
        for whose, factor in overrun
        if factor
    )
