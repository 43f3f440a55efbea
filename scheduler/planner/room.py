"""Room: the cheapest moves after which a VM has a place, for when no host can take it as things are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..cluster.reason import Reason
from ..filters import memory, registry
from ..filters.view import IntArray
from . import obstacle
from .load import FloatArray, Load
from .objective import Move, PlanningCancelledError
from .ordering import order, steps
from .plan import Step

CODE = "make_room"

_TRIED_HOSTS: Final = 32
"""Of the hosts that only lack memory those that lack least are looked at; of these the cheapest wins."""


@dataclass(frozen=True, slots=True)
class RoomSearch:
    """The search for a place for the stopped `vm` that no host can take, not begun yet. `load` is its own."""

    load: Load
    vm: int

    def steps(self, cancelled: Callable[[], bool] = bool) -> tuple[Step, ...]:
        """The moves in batches; empty when none make room.

        It takes long in a large cluster: soon after `cancelled` is true it ends with PlanningCancelledError.
        """
        ordered = order(self.load, moves_first(self.load, self.vm, cancelled))
        return steps(self.load, ordered) if ordered.complete else ()


def moves_first(load: Load, vm: int, cancelled: Callable[[], bool] = bool) -> list[Move]:
    """Moves, each possible after those before, that make room for the stopped `vm` on one host; empty when none do."""
    view, need = load.view, load.view.need(vm)
    mask = registry.static(view, need).copy()
    for rule in registry.DYNAMIC:
        if rule is not memory:
            mask &= rule.mask(view, need)
    hosts = np.flatnonzero(mask & (view.capacity_mib >= need.memory_mib) & (load.high_with(vm) <= load.given))
    hosts = hosts[np.argsort(-view.free_memory_mib[hosts], kind="stable")][:_TRIED_HOSTS]
    seconds = load.leaving_seconds
    best: tuple[float, list[Move]] = (np.inf, [])
    for host in map(int, hosts):
        if cancelled():
            raise PlanningCancelledError
        moves = _emptied(load, host, vm, seconds)
        cost = float(seconds[[move.vm for move in moves]].sum())
        if moves and cost < best[0]:
            best = cost, moves
    return best[1]


def _emptied(load: Load, host: int, vm: int, seconds: FloatArray) -> list[Move]:
    """The moves off `host` that free what `vm` lacks there, the cheapest per MiB first; empty when they do not."""
    view, trial = load.view, load.copy()
    reason = Reason(CODE, f"makes room on {view.hosts[host].name} for {view.vms[vm].name}")
    moves: list[Move] = []
    for leaver in _cheapest_first(load, host, vm, seconds):
        destination = _destination(trial, leaver, host)
        if destination is not None:
            trial.move(leaver, destination)
            moves.append(Move(vm=leaver, source=host, destination=destination, gain=0.0, reason=reason))
        if trial.view.free_memory_mib[host] >= view.memory_mib[vm]:
            return _needed(moves, view.memory_mib, int(trial.view.free_memory_mib[host] - view.memory_mib[vm]), seconds)
    return []


def _cheapest_first(load: Load, host: int, vm: int, seconds: FloatArray) -> list[int]:
    """Those that may leave: first what is enough alone, the soonest carried first, then by seconds per MiB."""
    view = load.view
    short = view.memory_mib[vm] - view.free_memory_mib[host]
    vms = np.flatnonzero(view.active & (view.vm_host == host))
    free = [int(one) for one in vms if obstacle.to_balancing(load, int(one)) is None]
    enough = [one for one in free if view.memory_mib[one] >= short and _destination(load, one, host) is not None]
    alone = sorted(enough, key=lambda one: (seconds[one], one))[:1]
    return alone + sorted(set(free) - set(alone), key=lambda one: (seconds[one] / view.memory_mib[one], one))


def _destination(load: Load, vm: int, host: int) -> int | None:
    """The host that is least filled with `vm` on it, below its CPU limit; None when there is none."""
    fits = registry.elsewhere(load.view, load.view.need(vm)) & (load.high_with(vm) <= load.room)
    fits &= ~load.closed(np.array([vm]))[0]
    fits[host] = False
    return int(np.argmin(np.where(fits, load.host_demand / load.cpus, np.inf))) if fits.any() else None


def _needed(moves: list[Move], memory_mib: IntArray, spare_mib: int, seconds: FloatArray) -> list[Move]:
    """The moves without those that turn out not to be needed, the dearest first."""
    for move in sorted(moves, key=lambda move: -seconds[move.vm]):
        if memory_mib[move.vm] <= spare_mib:
            spare_mib -= int(memory_mib[move.vm])
            moves = [other for other in moves if other is not move]
    return moves
