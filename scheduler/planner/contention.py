"""The objective `contention`: act only where VMs wait for CPU or memory is short, and leave the rest alone.

A contended host gives VMs to hosts that stay below the limit even at the VMs' high demand; it receives none but in
exchange for more. Of all moves that repay their cost, the one that relieves most per second of migration comes first.
Where such moves are not enough, or there may be only few, the search goes on (see `relief`).
"""

from itertools import combinations
from typing import Final

import numpy as np

from ..cluster.reason import Reason
from ..filters import registry
from ..filters.view import BoolArray, IntArray
from . import shortage
from .change import LEAST_GAIN
from .exchange import destinations
from .explanation import CODE_CPU_SHORT, named, refusals
from .load import Load
from .objective import Budget, Move, Stuck, Term
from .relief import Costs, Relief, Task
from .settings import PlannerSettings

CODE_NOT_NOW = "not_now"
CODE_NOT_HELD = "not_held_yet"
CODE_LIMIT = "limit_reached"
CODE_NO_GAIN = "no_gain"
CODE_MAKES_ROOM = "makes_room"

_REVISIONS: Final = 50
"""How often a plan of few moves is built anew without one or two of them; less often with more than 200 VMs."""


class Contention:
    """Relief where it is needed."""

    def __init__(self, load: Load, settings: PlannerSettings) -> None:
        self._settings = settings
        self._costs = Costs(load)
        self._given_up: BoolArray = np.zeros(len(load.view.hosts), dtype=bool)

    def terms(self, load: Load) -> tuple[Term, ...]:
        """Demand above what hosts can give, now and at high demand, and memory that they do not have."""
        return shortage.terms(load)

    def search(self, load: Load, movable: BoolArray, budget: Budget) -> list[Move]:
        """Relieve each contended host that can be relieved by the minimum gain, and touch no other."""
        relieve = load.to_relieve.copy()
        while True:
            moves = self._relieved(load, movable, relieve, budget)
            too_little = self._too_little(load, moves)
            if not too_little.any():
                break
            # What such a host gave took room that others may use: search once more without it.
            relieve &= ~too_little
        self._given_up = load.to_relieve & ~relieve
        for move in moves:
            load.move(move.vm, move.destination)
        return moves

    def _relieved(self, load: Load, movable: BoolArray, relieve: BoolArray, budget: Budget) -> list[Move]:
        """The moves of the search that leaves the lowest bill: the cheapest, where these are enough."""
        task = Task(movable=movable, relieve=relieve, budget=budget, costs=self._costs)
        cheapest = Relief(load, task).descend(per_second=True)
        if not len(cheapest.leavers()[0]):
            return self._sequence(load, cheapest) or []
        tried = [cheapest, cheapest.twin().improve()]
        tried.append(Relief(load, task).descend(per_second=False).improve())
        tried += [Relief(load, task).build(triples=triples).improve() for triples in (False, True)]
        if budget.moves is not None:
            tried.append(_revised(min(tried, key=Relief.bill), budget))
        for one in sorted(tried, key=Relief.bill):
            moves = self._sequence(load, one)
            if moves is not None:
                return moves
        return []

    def _sequence(self, load: Load, relief: Relief) -> list[Move] | None:
        """The moves of `relief` in an order in which each is possible after those before; None when there is none."""
        trial, targets, moves = load.copy(), relief.load.view.vm_host, list[Move]()
        pending = np.flatnonzero(relief.away)
        goes = [(load.view.vms[vm].name, int(targets[vm])) for vm in pending]
        while len(pending):
            hosts = targets[pending]
            high = trial.high_with(pending)[np.arange(len(pending)), hosts] <= trial.room[hosts]
            possible = _possible(trial, pending, hosts)
            rate = shortage.relief(trial, pending) / self._costs.seconds[pending]
            order = np.lexsort((-rate, ~high, ~possible))
            if not possible[order[0]]:
                return None
            vm = int(pending[order[0]])
            pending = np.delete(pending, order[0])
            newcomers = [name for name, target in goes if target == trial.view.vm_host[vm]]
            reason, before = _reason(trial, vm, newcomers), shortage.of_hosts(trial).sum()
            source, destination = int(trial.view.vm_host[vm]), int(targets[vm])
            trial.move(vm, destination)
            gain = float(before - shortage.of_hosts(trial).sum())
            moves.append(Move(vm=vm, source=source, destination=destination, gain=gain, reason=reason))
        return moves

    def stuck(self, load: Load, blocked: list[Reason | None]) -> Stuck:
        """The VMs of hosts that are still contended, each with what keeps it there."""
        contended = (load.contended | load.expected & load.to_relieve) & (shortage.of_hosts(load) > 0)
        return [(int(vm), self._why_not(load, int(vm), blocked[vm])) for vm in load.rows_of(contended)]

    def _why_not(self, load: Load, vm: int, blocked: Reason | None) -> tuple[Reason, ...]:
        host = int(load.view.vm_host[vm])
        if blocked is not None:
            return (blocked,)
        if not load.to_relieve[host]:
            since, hold = load.view.hosts[host].contended_seconds or 0.0, self._settings.hold_seconds
            return (Reason(CODE_NOT_HELD, f"short for {since:.0f} s, acted on after {hold:.0f} s"),)
        rows = np.array([vm])
        if destinations(load, rows).any():
            if self._given_up[host]:
                return (Reason(CODE_NO_GAIN, "all that can leave its host relieves less than the minimum gain"),)
            if self._worth(load, vm) <= 0:
                return (Reason(CODE_NO_GAIN, "moving it relieves less than it costs"),)
            return (Reason(CODE_LIMIT, "comes after the limit of this plan"),)
        refused = refusals(load.view, vm)
        not_now = load.view.vms[vm].not_to
        refused += tuple(Reason(CODE_NOT_NOW, f"{name}: {why}") for name, why in sorted(not_now.items()))
        open_to_it = registry.elsewhere(load.view, load.view.need(vm)) & ~load.closed(rows)[0]
        if open_to_it.any():
            names = [load.view.hosts[index].name for index in np.flatnonzero(open_to_it)]
            text = f"{named(names)}: has no {load.high[vm]:.1f} cores to spare"
            refused = (Reason(CODE_CPU_SHORT, text, needed_cores=float(load.high[vm]), hosts=names), *refused)
        return refused

    def _worth(self, load: Load, vm: int) -> float:
        """Core-seconds by which the bill falls when that VM leaves."""
        rows = np.array([vm])
        value = self._settings.horizon_seconds * shortage.relief(load, rows) - self._costs.core_seconds[rows]
        return float(value[0])

    def _too_little(self, load: Load, moves: list[Move]) -> BoolArray:
        """Hosts that gave VMs and gained less than the minimum, in a plan that gains less than the minimum."""
        before = shortage.of_hosts(load)
        trial = load.copy()
        for move in moves:
            trial.move(move.vm, move.destination)
        better, ratio = before - shortage.of_hosts(trial), self._settings.minimum_gain_ratio
        gave = np.zeros(len(before), dtype=bool)
        gave[[move.source for move in moves]] = True
        if better.sum() >= ratio * before[load.to_relieve].sum():
            return np.zeros_like(gave)
        small: BoolArray = gave & load.to_relieve & (better < ratio * before)
        return small


def _revised(best: Relief, budget: Budget) -> Relief:
    """`best`, built anew without one or two of its moves as long as that makes it better."""
    left = min(_REVISIONS, 200 * _REVISIONS // max(1, len(best.home)))
    tried = True
    while tried:
        tried = False
        away = [int(vm) for vm in np.flatnonzero(best.away)]
        for gone in (*combinations(away, 1), *combinations(away, 2)):
            if left <= 0 or budget.expired():
                return best
            left -= 1
            other = best.without(gone)
            if other.bill() < best.bill() - LEAST_GAIN:
                best, tried = other, True
                break
    return best


def _possible(load: Load, vms: IntArray, hosts: IntArray) -> BoolArray:
    """Whether each of `vms` can go to its one of `hosts` now, shape (vms,).

    Until another has left it the host may be above its limit, but not above its CPUs.
    """
    fits = registry.static_rows(load.view, vms) & registry.dynamic_rows(load.view, vms)
    within = load.host_demand[hosts] + load.demand[vms] <= load.cpus[hosts]
    possible: BoolArray = fits[np.arange(len(vms)), hosts] & within
    return possible


def _reason(load: Load, vm: int, newcomers: list[str]) -> Reason:
    """Why `vm` leaves its host; `newcomers` are the VMs that the plan brings there."""
    source = int(load.view.vm_host[vm])
    name, waiting, short = load.view.hosts[source].name, load.waiting()[source], load.memory_short_gib()[source]
    if not load.to_relieve[source]:
        return Reason(CODE_MAKES_ROOM, f"makes room on {name} for {named(newcomers)}")
    if waiting:
        return Reason("cpu_contention", f"{name} is {waiting:.1f} cores short", short_cores=float(waiting))
    if short:
        return Reason("memory_contention", f"{name} is {short:.1f} GiB short", short_gib=float(short))
    expected = float(shortage.of_hosts(load)[source] / shortage.EXPECTED_WEIGHT)
    text = f"{name} is {expected:.1f} cores short when demand is high"
    return Reason("cpu_contention_expected", text, short_cores=expected)
