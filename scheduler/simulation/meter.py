"""The meter: what a policy made of a cluster, counted alike for every policy from what the cluster really did."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..cluster.observation import EventKind
from .load import Wanted
from .scene import Scene

OVERLOADED_ABOVE: Final = 0.9
"""Part of its CPUs above which a host counts as overloaded."""
WAITS_ABOVE: Final = 0.05
"""Part of what it wants that a VM must miss to count as waiting."""
HOT_SPOT_S: Final = 120.0
"""A host whose demand is above its CPUs for less long is no hot spot: that passes by itself."""
REVERSE_WITHIN_S: Final = 6 * 3600.0
NOWHERE: Final = -1
MIB: Final = 1024 * 1024
FloatArray = NDArray[np.float64]


@dataclass(slots=True)
class Figures:
    """What `simulate --json` shows of one policy."""

    simulated_hours: float = 0.0
    contention_vm_minutes: float = 0.0
    """Minutes summed over VMs in which a VM got less than 95 % of the CPU that it wanted."""
    unserved_core_minutes: float = 0.0
    """Demand that hosts could not serve."""
    overloaded_host_minutes: float = 0.0
    """Minutes summed over hosts in which demand was above 90 % of the CPUs."""
    memory_short_gib_minutes: float = 0.0
    migrations: int = 0
    migrations_failed: int = 0
    migrations_per_vm_day: float = 0.0
    gib_moved: float = 0.0
    reverse_moves: int = 0
    """Back to a host that the VM had left in the 6 h before."""
    hosts_empty: float = 0.0
    """Mean number of hosts without a running VM."""
    placements_refused: int = 0
    hot_spots: int = 0
    """Times that a host's demand was above its CPUs for 2 min or longer."""
    relief_seconds_mean: float | None = None
    relief_seconds_max: float | None = None
    """From the moment a host's demand rose above its CPUs until it no longer was; None without hot spots."""


@dataclass(slots=True)
class Moment:
    """One minute of a chart."""

    time_s: float
    contended_vms: int
    overloaded_hosts: int
    migrations: int
    """So far."""
    unserved_cores: float = 0.0
    empty_hosts: int = 0


@dataclass(slots=True)
class _HotSpots:
    since_s: dict[int, float] = field(default_factory=dict)
    lasted_s: list[float] = field(default_factory=list)

    def note(self, now_s: float, hot: set[int]) -> None:
        for host in self.since_s.keys() - hot:
            self._end(now_s, host)
        for host in hot - self.since_s.keys():
            self.since_s[host] = now_s

    def close(self, now_s: float) -> None:
        for host in list(self.since_s):
            self._end(now_s, host)

    def _end(self, now_s: float, host: int) -> None:
        lasted_s = now_s - self.since_s.pop(host)
        if lasted_s >= HOT_SPOT_S:
            self.lasted_s.append(lasted_s)


class Meter:
    """Counts what lies between two calls of `take`. Demand is told to it, where VMs are it learns from the cluster."""

    def __init__(self, scene: Scene) -> None:
        snapshot = scene.snapshot
        self.figures = Figures()
        self.moments: list[Moment] = []
        self._cluster = scene.cluster
        self._events_read = len(scene.cluster.history)
        self._taken_s = 0.0
        self._hosts = {host.name: place for place, host in enumerate(snapshot.hosts)}
        vms = [vm for vm in snapshot.vms if vm.host is not None]
        self.rows = {vm.uuid: row for row, vm in enumerate(vms)}
        """The place of each VM in the arrays."""
        self.cpus: FloatArray = np.array([host.cpus for host in snapshot.hosts], dtype=float)
        self.demand: FloatArray = np.array([min(vm.cpu_demand_cores or 0.0, vm.vcpus) for vm in vms], dtype=float)
        """Cores that each VM wants, never more than its vCPUs, shape (vms,)."""
        self.place: NDArray[np.int64] = np.array(
            [self._hosts[str(vm.host)] if vm.active else NOWHERE for vm in vms], dtype=np.int64
        )
        """The host of each running VM, shape (vms,); NOWHERE of one that does not run."""
        self._vcpus: FloatArray = np.array([vm.vcpus for vm in vms], dtype=float)
        self._memory_mib: FloatArray = np.array([vm.memory_mib for vm in vms], dtype=float)
        self._room_mib: FloatArray = np.array(
            [host.memory_mib - host.reserved_memory_mib for host in snapshot.hosts], dtype=float
        )
        self._left: dict[str, dict[str, float]] = defaultdict(dict)
        """By UUID: when it left each host."""
        self._hot = _HotSpots()
        self._vm_days = 0.0

    def set_demands(self, wanted: Iterable[Wanted]) -> None:
        """From now on; `take` must have counted up to now."""
        for uuid, cores, _, _ in wanted:
            row = self.rows[uuid]
            self.demand[row] = min(cores, self._vcpus[row])

    def take(self, now_s: float) -> None:
        """Count up to now with the VMs where they were, then learn where they are."""
        self._count(now_s)
        history = self._cluster.history
        for event in history[self._events_read :]:
            if event.kind is EventKind.MIGRATED_IN:
                self._moved(event.uuid, event.host, event.monotonic_s)
            elif event.kind is EventKind.STARTED:
                self.place[self.rows[event.uuid]] = self._hosts[event.host]
            elif event.kind in {EventKind.STOPPED, EventKind.CRASHED}:
                self._stopped(event.uuid, event.host)
            elif event.kind is EventKind.JOB_COMPLETED and event.stats is not None:
                self.figures.migrations_failed += not event.stats["success"]
                self.figures.gib_moved += float(event.stats["memory_processed"]) / 1024 / MIB
        self._events_read = len(history)

    def close(self, now_s: float) -> Figures:
        """The figures up to now; nothing is counted after it."""
        self.take(now_s)
        self._hot.close(now_s)
        found, lasted = self.figures, self._hot.lasted_s
        found.simulated_hours = now_s / 3600
        found.hosts_empty = found.hosts_empty / now_s if now_s else 0.0
        found.migrations_per_vm_day = found.migrations / self._vm_days if self._vm_days else 0.0
        found.hot_spots = len(lasted)
        if lasted:
            found.relief_seconds_mean, found.relief_seconds_max = sum(lasted) / len(lasted), max(lasted)
        return found

    def _count(self, now_s: float) -> None:
        span_s, self._taken_s = now_s - self._taken_s, now_s
        if span_s <= 0:
            return
        own = np.array([self._cluster.host(name).own_load_cores for name in self._hosts])
        hosts = len(self.cpus)
        running = self.place != NOWHERE
        place, demand = self.place[running], self.demand[running]
        wanted = np.bincount(place, weights=demand, minlength=hosts) + own
        unserved = np.maximum(0.0, wanted - self.cpus)
        missing = unserved / np.maximum(wanted, 1e-12)
        waiting = int(np.count_nonzero((missing[place] > WAITS_ABOVE) & (demand > 0)))
        overloaded = int(np.count_nonzero(wanted > OVERLOADED_ABOVE * self.cpus))
        held_mib = np.bincount(place, weights=self._memory_mib[running], minlength=hosts)
        found, minutes = self.figures, span_s / 60
        found.contention_vm_minutes += waiting * minutes
        found.unserved_core_minutes += float(unserved.sum()) * minutes
        found.overloaded_host_minutes += overloaded * minutes
        found.memory_short_gib_minutes += float(np.maximum(0.0, held_mib - self._room_mib).sum()) / 1024 * minutes
        empty = hosts - len(np.unique(place))
        found.hosts_empty += float(empty) * span_s
        self._vm_days += len(place) * span_s / 86400
        self._hot.note(now_s - span_s, set(map(int, np.flatnonzero(unserved > 1e-9))))
        if not self.moments or now_s - self.moments[-1].time_s >= 60:
            self.moments.append(Moment(now_s, waiting, overloaded, found.migrations, float(unserved.sum()), empty))

    def _moved(self, uuid: str, host: str, at_s: float) -> None:
        row, names = self.rows[uuid], list(self._hosts)
        left = self._left[uuid]
        self.figures.migrations += 1
        self.figures.reverse_moves += at_s - left.get(host, -np.inf) <= REVERSE_WITHIN_S
        left[names[int(self.place[row])]] = at_s
        self.place[row] = self._hosts[host]

    def _stopped(self, uuid: str, host: str) -> None:
        """Not the receiving side of a migration that was given up: there it never ran."""
        if self.place[self.rows[uuid]] == self._hosts[host]:
            self.place[self.rows[uuid]] = NOWHERE
