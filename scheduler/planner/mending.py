"""Mending: moves for the sake of soft rules alone, where the objective's score falls by them and they repay their cost.

Under `contention` only onto hosts that stay half empty: what relief moved away does not come back to where it waited.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from ..cluster.reason import Reason
from ..filters import registry
from ..filters.view import BoolArray, IntArray
from . import soft
from .explanation import named
from .load import FloatArray, Load
from .objective import Budget, Goal, Move, Term, descend, score
from .settings import Objective, PlannerSettings

CODE = "soft_rule"

CORES: Final = soft.WEIGHTS[Objective.CONTENTION]
"""A VM that is where a soft rule would not have it is as bad as this many cores of waiting, against what a move costs,
whatever the objective."""
QUIET_RATIO: Final = 0.5
"""High demand, in parts of its CPUs, up to which a host is filled for the sake of a soft rule."""


def terms(load: Load, goal: Goal) -> tuple[Term, ...]:
    """The parts of an objective's score; where the cluster has soft rules, with what they cost."""
    if not load.soft:
        return goal.terms(load)
    weight = soft.WEIGHTS[load.settings.objective]
    broken = Term(name="soft_rules", weight=weight, unit="VMs", value=float(load.soft.total(load.view)))
    return (*goal.terms(load), broken)


def mend(load: Load, goal: Goal, movable: BoolArray, budget: Budget) -> list[Move]:
    """Moves of `movable` VMs after each of which less is broken, made in `load` too."""
    movable = movable & load.soft.members & load.view.active
    movable[movable] = load.judged[load.view.vm_host[movable]]
    if not movable.any():
        return []
    costs = np.array([_cost(load, vm) for vm in range(len(load.view.vms))])
    worth = load.settings.horizon_seconds * CORES
    refused: set[int] = set()

    def best(load: Load, movable: BoolArray) -> Move | None:
        while True:
            vms = np.array([vm for vm in np.flatnonzero(movable) if int(vm) not in refused], dtype=np.int64)
            found = _best(load, vms, costs, worth)
            if found is None:
                return None
            move = _made(load, goal, *found)
            if move is not None:
                return move
            refused.add(found[0])

    return descend(best, load, movable, budget)


def _best(load: Load, vms: IntArray, costs: FloatArray, worth: float) -> tuple[int, int] | None:
    """The VM whose move mends most for its cost and repays it, and the emptiest host that mends that much."""
    if not len(vms):
        return None
    change = load.soft.change(load.view, vms)
    fits = registry.static_rows(load.view, vms) & registry.dynamic_rows(load.view, vms) & ~load.closed(vms)
    fits &= (load.high_with(vms) <= _limit(load.settings) * load.cpus) & ~load.contended
    fits[np.arange(len(vms)), load.view.vm_host[vms]] = False
    most = np.where(fits, change, 0).min(axis=1, initial=0)
    net = np.where(most < 0, -most * worth - costs[vms], -np.inf)
    row = int(np.argmax(net))
    if net[row] <= 0:
        return None
    mending = fits[row] & (change[row] == most[row])
    return int(vms[row]), int(np.argmin(np.where(mending, load.host_high / load.cpus, np.inf)))


def _limit(settings: PlannerSettings) -> float:
    return QUIET_RATIO if settings.objective is Objective.CONTENTION else settings.cpu_usage_ratio_limit


def least(load: Load, vms: Sequence[int]) -> float:
    """By how much the score must fall for moves of `vms` that break soft rules: their cost, where it is in cores."""
    if load.settings.objective is not Objective.CONTENTION:
        return 0.0
    return sum(_cost(load, vm) for vm in vms) / load.settings.horizon_seconds


def _cost(load: Load, vm: int) -> float:
    """Core-seconds that moving it must gain."""
    cost = load.leaving[vm].core_seconds
    return float(load.importance[vm] * (1 + load.settings.minimum_gain_ratio) * cost)


def held_back(load: Load, vm: int) -> tuple[Reason, ...]:
    """The hosts where `vm` would break a soft rule that it keeps where it is, as a reason not to go there."""
    worse = load.soft.change(load.view, np.array([vm]))[0] > 0
    worse &= registry.elsewhere(load.view, load.view.need(vm))
    hosts = [load.view.hosts[host].name for host in np.flatnonzero(worse)]
    text = f"{named(hosts)}: a soft rule would be broken there, and that weighs more"
    return (Reason(CODE, text, hosts=hosts),) if hosts else ()


def _made(load: Load, goal: Goal, vm: int, host: int) -> Move | None:
    """That move with its gain, unless it costs the objective more than it mends."""
    trial = load.copy()
    trial.move(vm, host)
    gain = score(terms(load, goal)) - score(terms(trial, goal))
    if gain <= 0:
        return None
    view = load.view
    text = soft.why(view, vm) or "another VM can then be where a rule would have it"
    return Move(vm=vm, source=int(view.vm_host[vm]), destination=host, gain=gain, reason=Reason(CODE, text))
