"""What the policies of others see: true mean load since they were last asked, and where a VM may go."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..cluster.model import Snapshot
from ..filters import registry
from ..filters.view import BoolArray, View

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Move:
    """A running VM and a host, by their rows."""

    vm: int
    destination: int


class Seen:
    """One decision's picture; `move` brings it up to date. VMs are the running ones of the snapshot, in its order."""

    def __init__(self, now_s: float, snapshot: Snapshot, demand: FloatArray, place: IntArray, *, moving: bool) -> None:
        self.now_s = now_s
        self.moving = moving
        """Whether any migration is under way."""
        self.demand = demand
        """Cores, shape (vms,)."""
        self.place = place.copy()
        """The host of each VM, shape (vms,)."""
        self.cpus: FloatArray = np.array([host.cpus for host in snapshot.hosts], dtype=float)
        self._begin = snapshot
        self._running = [vm for vm in snapshot.vms if vm.active and vm.host is not None]
        self.memory_mib = [vm.memory_mib for vm in self._running]
        self._view: View | None = None
        self._rows_in_view: list[int] = []

    @property
    def usage(self) -> FloatArray:
        """Demand of its VMs as a part of each host's CPUs, at most 1: more a host does not show, shape (hosts,)."""
        loads = np.bincount(self.place, weights=self.demand, minlength=len(self.cpus))
        found: FloatArray = np.minimum(1.0, loads / self.cpus)
        return found

    def row(self, name: str) -> int:
        """The row of a VM."""
        return next(row for row, vm in enumerate(self._running) if vm.name == name)

    def host(self, name: str) -> int:
        """The row of a host."""
        return next(row for row, host in enumerate(self._begin.hosts) if host.name == name)

    def snapshot(self) -> Snapshot:
        """The cluster now."""
        hosts = self._begin.hosts
        now = {
            vm.uuid: replace(vm, host=hosts[self.place[row]].name, cpu_demand_cores=float(self.demand[row]))
            for row, vm in enumerate(self._running)
        }
        return replace(self._begin, vms=tuple(now.get(vm.uuid, vm) for vm in self._begin.vms))

    def allowed(self, vm: int) -> BoolArray:
        """Hosts to which every hard rule lets it migrate, shape (hosts,)."""
        view = self._looked_at()
        row = self._rows_in_view[vm]
        return registry.elsewhere(view, view.need(row)) & view.vms[row].movable

    def movable_on(self, host: int) -> list[int]:
        """The VMs of a host that can migrate."""
        return [int(vm) for vm in np.flatnonzero(self.place == host) if self._running[vm].movable]

    def busiest_on(self, host: int) -> list[int]:
        """The same, by what they want, most first."""
        return sorted(self.movable_on(host), key=lambda vm: -self.demand[vm])

    def to_least_used(self, vm: int, hosts: BoolArray, limit: float) -> Move | None:
        """Move it to the least used of `hosts` that it does not bring above `limit`; None when there is none."""
        usage = self.usage
        after = usage + self.demand[vm] / self.cpus
        fit = np.flatnonzero(hosts & (after <= limit) & self.allowed(vm))
        return self.move(vm, int(fit[usage[fit].argmin()])) if len(fit) else None

    def best_move(self, measure: Callable[[FloatArray], FloatArray]) -> tuple[Move, float] | None:
        """The single move after which `measure` of the hosts' use (last axis) is lowest, and that figure."""
        loads = np.bincount(self.place, weights=self.demand, minlength=len(self.cpus))
        everywhere = np.arange(len(self.cpus))
        best: tuple[Move, float] | None = None
        for vm in np.flatnonzero(self.demand > 0):
            hosts = self._candidates(int(vm), everywhere)
            if not len(hosts):
                continue
            after = np.tile(loads, (len(hosts), 1))
            after[:, self.place[vm]] -= self.demand[vm]
            after[np.arange(len(hosts)), hosts] += self.demand[vm]
            found = measure(np.minimum(1.0, after / self.cpus))
            least = int(found.argmin())
            if best is None or found[least] < best[1]:
                best = Move(int(vm), int(hosts[least])), float(found[least])
        return best

    def move(self, vm: int, destination: int) -> Move:
        """Take it as moved in what is decided next."""
        self._looked_at().move(self._rows_in_view[vm], destination)
        self.place[vm] = destination
        return Move(vm, destination)

    def _candidates(self, vm: int, hosts: Iterable[int]) -> IntArray:
        allowed = self.allowed(vm)
        return np.array([host for host in hosts if allowed[host]], dtype=np.int64)

    def _looked_at(self) -> View:
        if self._view is None:
            snapshot = self.snapshot()
            self._view = View(snapshot)
            running = {vm.uuid for vm in self._running}
            self._rows_in_view = [row for row, vm in enumerate(snapshot.vms) if vm.uuid in running]
        return self._view
