"""The objective `pack`: fewest hosts in use, with every loss of one host that was survivable still survivable."""

import numpy as np

from ..cluster.reason import Reason
from ..filters import registry
from ..filters.view import BoolArray
from .load import FloatArray, Load
from .objective import Budget, Move, Stuck, Term
from .settings import PlannerSettings

CODE = "pack"


class Pack:
    """Empties one host after another, the least filled first; a host is emptied wholly or not at all."""

    def __init__(self, load: Load, settings: PlannerSettings) -> None:
        self._ceiling: FloatArray = settings.cpu_usage_ratio_limit * load.cpus

    def terms(self, load: Load) -> tuple[Term, ...]:
        """Hosts that run anything, of those that balancing looks at."""
        return (Term(name="hosts_in_use", weight=1.0, unit="hosts", value=float((_used(load) & load.judged).sum())),)

    def search(self, load: Load, movable: BoolArray, budget: Budget) -> list[Move]:
        """Empty hosts until none can be emptied."""
        movable = movable.copy()
        moves: list[Move] = []
        survivable = self._survivable(load)
        kept: set[int] = set()
        while budget.allows(len(moves)):
            candidates = [host for host in self._emptiest_first(load) if host not in kept]
            if not candidates:
                break
            host = candidates[0]
            trial = load.copy()
            found = self._empty(trial, host, movable)
            carried_mib = sum(int(load.view.memory_mib[move.vm]) for move in (*moves, *found))
            fits = budget.covers(len(moves) + len(found), carried_mib)
            if not found or not fits or not survivable <= self._survivable(trial) | {host}:
                kept.add(host)
                continue
            for move in found:
                load.move(move.vm, move.destination)
                movable[move.vm] = False
            moves += found
            survivable.discard(host)
            kept.clear()
        return moves

    def stuck(self, load: Load, blocked: list[Reason | None]) -> Stuck:  # noqa: ARG002
        """Nothing: no VM has to leave its host."""
        return []

    def _emptiest_first(self, load: Load) -> list[int]:
        hosts = np.flatnonzero(_used(load) & load.judged)
        filled = (load.view.capacity_mib - load.view.free_memory_mib)[hosts] / np.maximum(
            1, load.view.capacity_mib[hosts]
        )
        return [int(host) for host in hosts[np.argsort(filled, kind="stable")]]

    def _empty(self, load: Load, host: int, movable: BoolArray) -> list[Move]:
        """All VMs of `host` to others in use, the fullest first; nothing when one cannot leave."""
        view, moves = load.view, []
        vms = np.flatnonzero(view.active & (view.vm_host == host))
        if not movable[vms].all():
            return []
        reason = Reason(CODE, f"{view.hosts[host].name} can be emptied")
        for vm in map(int, vms[np.argsort(-view.memory_mib[vms], kind="stable")]):
            fits = registry.elsewhere(view, view.need(vm)) & _used(load)
            fits &= load.high_with(vm) <= self._ceiling
            fits &= ~load.closed(np.array([vm]))[0]
            if not fits.any():
                return []
            destination = int(np.argmin(np.where(fits, view.free_memory_mib, np.inf)))
            load.move(vm, destination)
            moves.append(Move(vm=vm, source=host, destination=destination, gain=1 / len(vms), reason=reason))
        return moves

    def _survivable(self, load: Load) -> set[int]:
        """Hosts in use whose VMs all fit on the others (judged host by host, largest VM first)."""
        return {host for host in self._emptiest_first(load) if _fits_elsewhere(load, host)}


def switchable(load: Load) -> list[str]:
    """Names of the hosts that balancing looks at and that run nothing: they can be switched off."""
    idle = np.flatnonzero(load.judged & ~_used(load))
    return sorted(load.view.hosts[host].name for host in idle)


def _used(load: Load) -> BoolArray:
    used = np.zeros(len(load.view.hosts), dtype=bool)
    used[load.view.vm_host[load.view.active]] = True
    return used


def _fits_elsewhere(load: Load, host: int) -> bool:
    view = load.view.copy()
    vms = np.flatnonzero(view.active & (view.vm_host == host))
    for vm in map(int, vms[np.argsort(-view.memory_mib[vms], kind="stable")]):
        fits = registry.elsewhere(view, view.need(vm))
        if not fits.any():
            return False
        view.move(vm, int(np.argmax(np.where(fits, view.free_memory_mib, -1))))
    return True
