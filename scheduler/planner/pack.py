"""The objective `pack`: fewest hosts in use, the others switched off, and no loss of a host worse for it."""

import numpy as np

from ..cluster.reason import Reason
from ..filters import registry
from ..filters.view import BoolArray
from .load import FloatArray, Load
from .loss import Losses
from .objective import Budget, Move, Stuck, Term
from .settings import PlannerSettings

CODE = "pack"


class Pack:
    """Empties one host after another, the one that holds least first; a host is emptied wholly or not at all.

    What is emptied must not be needed any more: the loss of each other host is borne by the hosts that stay on.
    """

    def __init__(self, load: Load, settings: PlannerSettings) -> None:
        self._ceiling: FloatArray = settings.cpu_usage_ratio_limit * load.cpus

    def terms(self, load: Load) -> tuple[Term, ...]:
        """Hosts that run anything, of those that balancing looks at."""
        return (Term(name="hosts_in_use", weight=1.0, unit="hosts", value=float((_used(load) & load.judged).sum())),)

    def search(self, load: Load, movable: BoolArray, budget: Budget) -> list[Move]:
        """Empty hosts until none can be emptied."""
        movable = movable.copy()
        moves: list[Move] = []
        losses = Losses(load.view)
        on = ~_dispensable(load, losses)
        tried, emptied = set[int](), False
        while budget.allows(len(moves)):
            untried = [host for host in self._emptiest_first(load) if host not in tried]
            if not untried and not emptied:
                break
            if not untried:
                tried, emptied = set(), False
                continue
            host = untried[0]
            tried.add(host)
            found = self._empty(load.copy(), host, movable)
            carried_mib = sum(int(load.view.memory_mib[move.vm]) for move in (*moves, *found))
            if not found or not budget.covers(len(moves) + len(found), carried_mib):
                continue
            trial = load.view.copy()
            for move in found:
                trial.move(move.vm, move.destination)
            on[host] = False
            if losses.worse(trial, on):
                on[host] = True
                continue
            for move in found:
                load.move(move.vm, move.destination)
                movable[move.vm] = False
            moves += found
            emptied = True
        return moves

    def stuck(self, load: Load, blocked: list[Reason | None]) -> Stuck:  # noqa: ARG002
        """Nothing: no VM has to leave its host."""
        return []

    def _emptiest_first(self, load: Load) -> list[int]:
        hosts = np.flatnonzero(_used(load) & load.judged)
        held_mib = (load.view.capacity_mib - load.view.free_memory_mib)[hosts]
        return [int(host) for host in hosts[np.argsort(held_mib, kind="stable")]]

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


def switchable(load: Load) -> list[str]:
    """Names of the hosts that run nothing and whose room no loss of another host needs: they can be switched off."""
    return sorted(load.view.hosts[host].name for host in np.flatnonzero(_dispensable(load, Losses(load.view))))


def _dispensable(load: Load, losses: Losses) -> BoolArray:
    """The hosts of `switchable`, shape (hosts,): all that run nothing, but for the largest where losses need them."""
    idle = load.judged & ~_used(load)
    if not losses.worse(load.view, ~idle):
        return idle
    off = np.zeros_like(idle)
    hosts = np.flatnonzero(idle)
    for host in hosts[np.argsort(load.view.capacity_mib[hosts], kind="stable")]:
        off[host] = True
        off[host] = not losses.worse(load.view, ~off)
    return off


def _used(load: Load) -> BoolArray:
    used = np.zeros(len(load.view.hosts), dtype=bool)
    used[load.view.vm_host[load.view.active]] = True
    return used
