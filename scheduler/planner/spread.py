"""The objective `spread`: even load. The score is the spread itself, so one empty host among many is seen at once."""

from dataclasses import replace
from typing import Final

import numpy as np

from ..cluster.reason import Reason
from ..filters import registry
from ..filters.view import BoolArray, IntArray, View
from .annealing import annealed
from .evenness import RESOURCES, Evenness
from .load import FloatArray, Load, together
from .objective import Budget, Move, Stuck, Term
from .settings import PlannerSettings

CODE = "spread"

STEP_GAIN: Final = 0.1
"""A step must gain this part of the minimum gain, measured at one host's mean share in the score."""
LEAST_GAIN: Final = 0.01
"""A plan must lower the score by this much times the largest weight."""
NOISE: Final = 0.05
"""Part of its demand by which a VM's measured demand may be off, one look after the other."""
ABOVE_NOISE: Final = 2.0
"""A plan must gain so many times what noise is expected to change about the score: it is in that before and after."""
_WHOLE_SCAN: Final = 60_000
"""Up to so many pairs of VM and host each step looks at all of them, above at the most and the least loaded hosts."""
_SHORTLIST: Final = 16
"""Hosts on either end of such a step."""


class Spread:
    """Even load over the hosts that balancing looks at.

    `effort` is how many times as long as usual the search is; benchmarks measure with it what the usual one misses.
    """

    def __init__(self, load: Load, settings: PlannerSettings, *, effort: int = 1) -> None:
        self._settings = settings
        self._effort = effort
        self._worth = STEP_GAIN * settings.minimum_gain_ratio
        self._ceiling: FloatArray = settings.cpu_usage_ratio_limit * load.cpus

    def terms(self, load: Load) -> tuple[Term, ...]:
        """The standard deviation of each resource's use, 0 to 1."""
        even = Evenness(load)
        return tuple(
            Term(name=name, weight=float(weight), unit="ratio", value=float(value))
            for name, weight, value in zip(RESOURCES, even.weights, even.deviations(), strict=True)
        )

    def search(self, load: Load, movable: BoolArray, budget: Budget) -> list[Move]:
        """Steepest descent, refined; all of its moves, or none when without limits, too, they gain less than least."""
        before = Evenness(load).score()
        movable = movable & load.view.active
        movable[movable] = load.judged[load.view.vm_host[movable]]
        lasting = self._lasting(load)
        movable &= lasting > 0
        trial = load.copy()
        moves = self._descend(trial, movable, lasting, budget)
        least = self._least(load, before)
        if before - Evenness(trial).score() < least and before - self._unlimited(trial, moves, movable, budget) < least:
            return []
        moves = self._refined(load, trial, moves, movable, lasting, budget)
        for move in moves:
            load.move(move.vm, move.destination)
        return moves

    def _least(self, load: Load, before: float) -> float:
        """What a plan must gain: more than the minimum, and more than noise seems to gain in a settled cluster."""
        weights = self._settings.weights
        return max(
            self._settings.minimum_gain_ratio * before,
            LEAST_GAIN * max(weights.values(), default=0.0),
            ABOVE_NOISE * weights.get("cpu", 0.0) * _noise(load),
        )

    def _unlimited(self, load: Load, moves: list[Move], movable: BoolArray, budget: Budget) -> float:
        """The score that descent would reach in plans to come: few moves of many are worth making, too."""
        further, movable = load.copy(), movable.copy()
        movable[[move.vm for move in moves]] = False
        self._descend(further, movable, self._lasting(load), replace(budget, moves=None, gib=None))
        return Evenness(further).score()

    def _lasting(self, load: Load) -> FloatArray:
        """What is left of the horizon once each VM has arrived, 0 to 1: a gain counts only for that."""
        return np.maximum(0.0, 1 - load.leaving_seconds / self._settings.horizon_seconds)

    def stuck(self, load: Load, blocked: list[Reason | None]) -> Stuck:  # noqa: ARG002
        """Nothing: no VM of an uneven cluster has to leave its host."""
        return []

    def _descend(self, load: Load, movable: BoolArray, lasting: FloatArray, budget: Budget) -> list[Move]:
        """The best single move, again and again, until none is worth it."""
        even, moves, movable = Evenness(load), list[Move](), movable.copy()
        carried_gib = 0.0
        while budget.allows(len(moves)):
            current = even.score()
            vms, hosts = self._candidates(load, even, movable & budget.affords(load.view.memory_mib, carried_gib))
            if not len(vms) or not len(hosts):
                break
            sources = load.view.vm_host[vms]
            gain = current - even.after(vms, sources, hosts)
            # A step must be worth a fair part of one host's share in the score: the tail of tiny moves is left out.
            least = max(1e-9, self._worth * current / even.count)
            gain[gain * lasting[vms][:, np.newaxis] <= least] = -np.inf
            gain[~self._fits(load, vms, hosts)] = -np.inf
            row, column = divmod(int(np.argmax(gain)), len(hosts))
            if gain[row, column] == -np.inf:
                break
            vm, source, host = int(vms[row]), int(sources[row]), int(hosts[column])
            moves.append(self._move(load, vm, host, float(gain[row, column])))
            load.move(vm, host)
            even.move(vm, source, host)
            movable[vm] = False
            carried_gib += load.view.memory_mib[vm] / 1024
        return moves

    def _candidates(self, load: Load, even: Evenness, movable: BoolArray) -> tuple[IntArray, IntArray]:
        """VMs and hosts among which the best move is looked for."""
        hosts = np.flatnonzero(load.judged)
        vms = np.flatnonzero(movable)
        if len(vms) * len(hosts) <= _WHOLE_SCAN:
            return vms, hosts
        pressure = even.pressure()[:, hosts]
        most = np.concatenate([_top(pressure.sum(axis=0)), _top(pressure.max(axis=0))])
        least = np.concatenate([_top(-pressure.sum(axis=0)), _top(-pressure.min(axis=0))])
        full = np.zeros(len(load.judged), dtype=bool)
        full[hosts[most]] = True
        return vms[full[load.view.vm_host[vms]]], np.unique(hosts[least])

    def _fits(self, load: Load, vms: IntArray, hosts: IntArray) -> BoolArray:
        """Hosts that may take each of `vms` and stay below the CPU limit, shape (vms, hosts)."""
        fits = registry.static_rows(load.view, vms)[:, hosts] & ~load.closed(vms)[:, hosts]
        fits &= registry.dynamic_rows(load.view, vms)[:, hosts]
        fits &= load.high_with(vms, hosts) <= self._ceiling[hosts]
        fits &= load.view.vm_host[vms][:, np.newaxis] != hosts
        return fits

    def _refined(
        self, load: Load, found: Load, moves: list[Move], movable: BoolArray, lasting: FloatArray, budget: Budget
    ) -> list[Move]:
        """The moves of a search that also swaps and exchanges, if they do better; else those of the descent."""
        if budget.expired():
            return moves
        score = Evenness(found).score()
        price = self._worth * score / max(1, int(load.judged.sum()))
        prices = price / np.maximum(1e-3, lasting)
        most = budget.moves or len(moves)
        targets = annealed(load, found, movable, self._ceiling, prices, most=most, effort=self._effort)
        if targets is None:
            return moves
        trial = load.copy()
        sequence = self._sequence(trial, targets)
        carried = [move.vm for move in sequence]
        if not budget.affords(load.view.memory_mib[carried].sum(keepdims=True), 0.0).all():
            return moves
        better = Evenness(trial).score() + prices[carried].sum()
        return sequence if better < score + prices[[move.vm for move in moves]].sum() else moves

    def _sequence(self, load: Load, targets: IntArray) -> list[Move]:
        """Moves to `targets`, each possible after those before, the best first; what has no room at its turn stays."""
        even, moves = Evenness(load), list[Move]()
        pending = np.flatnonzero(targets != load.view.vm_host)
        while len(pending):
            view, sources, hosts = load.view, load.view.vm_host[pending], targets[pending]
            gain = even.score() - even.after_each(pending, sources, hosts)
            demand = load.host_demand[hosts] + load.demand[pending]
            excess_squared = load.host_excess_squared[hosts] + load.excess_squared[pending]
            fits = together(demand, excess_squared) <= self._ceiling[hosts]
            fits &= view.free_memory_mib[hosts] >= view.memory_mib[pending]
            order = np.argsort(np.where(fits, -gain, np.inf), kind="stable")
            best = next((row for row in order if fits[row] and _open(view, int(pending[row]), int(hosts[row]))), None)
            if best is None:
                break
            vm, source, host = int(pending[best]), int(sources[best]), int(hosts[best])
            moves.append(self._move(load, vm, host, float(gain[best])))
            load.move(vm, host)
            even.move(vm, source, host)
            pending = np.delete(pending, best)
        return moves

    def _move(self, load: Load, vm: int, host: int, gain: float) -> Move:
        source, names = int(load.view.vm_host[vm]), load.view.hosts
        reason = Reason(CODE, f"{names[source].name} carries more than {names[host].name}")
        return Move(vm=vm, source=source, destination=host, gain=gain, reason=reason)


def _noise(load: Load) -> float:
    """By how much independent noise in the demand of VMs can be expected to change the term `cpu`.

    A standard deviation is a norm: what is added to the use of hosts changes it by no more than its own deviation, here
    the root mean square over hosts of sqrt(sum of (NOISE x demand)^2) / CPUs.
    """
    placed = np.flatnonzero(load.view.active)
    squares = np.bincount(
        load.view.vm_host[placed], weights=(NOISE * load.demand[placed]) ** 2, minlength=len(load.judged)
    )
    of_hosts = (squares / load.cpus**2)[load.judged]
    return float(np.sqrt(of_hosts.mean())) if len(of_hosts) else 0.0


def _open(view: View, vm: int, host: int) -> bool:
    return bool(registry.elsewhere(view, view.need(vm))[host])


def _top(values: FloatArray) -> IntArray:
    top: IntArray = np.argsort(-values, kind="stable")[:_SHORTLIST]
    return top
