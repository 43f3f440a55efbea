"""The objective `spread`: even load. The score is the spread itself, so one empty host among many is seen at once.

score = sum over resources of weight x population standard deviation over hosts of used / capacity.
"""

from dataclasses import dataclass

import numpy as np

from ..cluster.reason import Reason
from ..filters import registry
from ..filters.view import BoolArray, IntArray
from .cost import predict
from .load import FloatArray, Load
from .objective import Budget, Move, Stuck, Term, descend, score
from .settings import PlannerSettings

CODE = "spread"


@dataclass(frozen=True, slots=True)
class _Resource:
    name: str
    weight: float
    used: FloatArray
    """Part of each host's capacity, shape (hosts,)."""
    capacity: FloatArray
    amount: FloatArray
    """What each VM takes, shape (vms,)."""


class Spread:
    """Even load over the hosts that balancing looks at."""

    def __init__(self, load: Load, settings: PlannerSettings) -> None:
        self._settings = settings
        seconds = np.array([predict(vm, settings).seconds for vm in load.view.vms])
        # A gain counts only for what is left of the horizon once the VM has arrived.
        self._lasting: FloatArray = np.maximum(0.0, 1 - seconds / settings.horizon_seconds)
        every = np.arange(len(load.view.vms))
        self._static = registry.static_rows(load.view, every) & ~load.closed(every)

    def terms(self, load: Load) -> tuple[Term, ...]:
        """The standard deviation of each resource's use, 0 to 1."""
        return tuple(
            Term(name=resource.name, weight=resource.weight, unit="ratio", value=_deviation(resource.used[load.judged]))
            for resource in self._resources(load)
        )

    def search(self, load: Load, movable: BoolArray, budget: Budget) -> list[Move]:
        """Steepest descent; all of its moves, or none when they gain less than the minimum."""
        trial = load.copy()
        before = score(self.terms(trial))
        rows = np.zeros_like(movable)
        rows[load.rows_of(load.judged)] = True
        moves = descend(self._best_move, trial, movable & rows, budget)
        if before - score(self.terms(trial)) < self._settings.minimum_gain_ratio * before:
            return []
        for move in moves:
            load.move(move.vm, move.destination)
        return moves

    def stuck(self, load: Load, blocked: list[Reason | None]) -> Stuck:  # noqa: ARG002
        """Nothing: no VM of an uneven cluster has to leave its host."""
        return []

    def _best_move(self, load: Load, movable: BoolArray) -> Move | None:
        vms = np.flatnonzero(movable)
        if not len(vms):
            return None
        current = score(self.terms(load))
        gain = (current - self.scores(load, vms)) * self._lasting[vms][:, np.newaxis]
        gain[~self._fits(load, vms)] = -np.inf
        row, host = divmod(int(np.argmax(gain)), gain.shape[1])
        # A step must be worth a fair part of one host's share in the score: the tail of tiny moves is left out.
        least = self._settings.minimum_gain_ratio * current / int(load.judged.sum())
        if gain[row, host] <= max(least, 1e-9):
            return None
        vm = int(vms[row])
        source = int(load.view.vm_host[vm])
        names = load.view.hosts
        reason = Reason(CODE, f"{names[source].name} carries more than {names[host].name}")
        return Move(vm=vm, source=source, destination=host, gain=float(gain[row, host]), reason=reason)

    def scores(self, load: Load, vms: IntArray) -> FloatArray:
        """The score after each move, shape (vms, hosts), from what it changes on its two hosts."""
        judged, sources = load.judged, load.view.vm_host[vms]
        count = max(1, int(judged.sum()))
        total: FloatArray = np.zeros((len(vms), len(judged)))
        for resource in self._resources(load):
            if not resource.weight:
                continue
            used, amount = resource.used, resource.amount[vms]
            leaves = (amount / resource.capacity[sources])[:, np.newaxis]
            arrives = amount[:, np.newaxis] / resource.capacity
            sums = used[judged].sum() + (arrives - leaves)
            squares = (used[judged] ** 2).sum() + arrives * (2 * used + arrives)
            squares += leaves * (leaves - 2 * used[sources][:, np.newaxis])
            total += resource.weight * np.sqrt(np.maximum(0.0, squares / count - (sums / count) ** 2))
        return total

    def _fits(self, load: Load, vms: IntArray) -> BoolArray:
        fits = self._static[vms] & registry.dynamic_rows(load.view, vms)
        ceiling = self._settings.cpu_usage_ratio_limit * load.cpus
        fits &= load.host_high + load.high[vms][:, np.newaxis] <= ceiling
        fits[np.arange(len(vms)), load.view.vm_host[vms]] = False
        return fits

    def _resources(self, load: Load) -> tuple[_Resource, ...]:
        view, weight = load.view, self._settings.weights
        memory = np.maximum(1.0, view.capacity_mib)
        memory_used = (view.capacity_mib - view.free_memory_mib) / memory
        cpus = load.cpus
        return (
            _Resource("cpu", weight.get("cpu", 0.0), load.host_demand / cpus, cpus, load.demand),
            _Resource("memory", weight.get("memory", 0.0), memory_used, memory, view.memory_mib.astype(float)),
            _Resource("vcpus", weight.get("vcpus", 0.0), load.host_vcpus / cpus, cpus, load.vcpus),
        )


def _deviation(used: FloatArray) -> float:
    return float(np.std(used)) if len(used) else 0.0
