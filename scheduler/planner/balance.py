"""Balance: the whole of planning. Repair first, then the objective; or, for a drain, the evacuation alone."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from ..cluster.model import HostState, Snapshot
from ..filters.view import BoolArray, View
from . import mending, obstacle
from .canonical import canonical
from .contention import Contention
from .evacuation import evacuate
from .load import Load
from .objective import Budget, Goal, Move, PlanningCancelledError, Stuck, merged, score
from .ordering import Order, order, steps
from .pack import Pack
from .plan import Plan, TermChange, Unmoved, apply_plan
from .repair import CODE as CODE_REPAIR
from .repair import repair
from .settings import Objective, PlannerSettings
from .spread import Spread
from .summary import summary

GOALS: Final[Mapping[Objective, Callable[[Load, PlannerSettings], Goal]]] = {
    Objective.CONTENTION: Contention,
    Objective.SPREAD: Spread,
    Objective.PACK: Pack,
}

_MAX_ROUNDS: Final = 6
"""How often a plan is planned on again at most. Two are usual: one that moves, one that finds nothing left."""


def plan(
    snapshot: Snapshot,
    settings: PlannerSettings,
    *,
    clock: Callable[[], float],
    drain: Collection[str] = (),
    seed: int = 0,
    cancelled: Callable[[], bool] = bool,
) -> Plan:
    """The moves to make now, in order, and what should move but cannot.

    `clock` gives seconds and bounds the search. `drain` names hosts to empty; then nothing else is planned. `seed`
    chooses between equally good hosts. `cancelled` is asked again and again: soon after it is true, planning ends with
    PlanningCancelledError. Raises KeyError for a host to drain that the snapshot does not have.
    """
    began = clock()
    for name in drain:
        snapshot.host(name)

    def check() -> None:
        if cancelled():
            raise PlanningCancelledError

    def expired() -> bool:
        check()
        return clock() - began >= settings.time_limit_seconds

    budget = Budget(settings.max_moves, expired, settings.max_gib, check)
    start = canonical(_drained(snapshot, drain), seed)
    ordered, stuck = _drain(start, drain, settings, budget) if drain else _rounds(start, settings, budget)
    check()
    before = Load(View(start), settings)
    made = steps(before, ordered)
    check()
    after = Load(View(apply_plan(start, made)), settings)
    check()
    terms = _changes(GOALS[settings.objective], before, after)
    unmoved = _unmoved(after.view, stuck)
    return Plan(
        objective=settings.objective.value,
        score_before=sum(term.weight * term.before for term in terms),
        score_after=sum(term.weight * term.after for term in terms),
        planning_seconds=clock() - began,
        steps=made,
        unmoved=unmoved,
        summary=summary(before, after, made, unmoved, drain),
        terms=terms,
        repairs=sum(step.reason.code == CODE_REPAIR for step in made),
    )


def _drained(snapshot: Snapshot, drain: Collection[str]) -> Snapshot:
    """The snapshot with the hosts to drain in maintenance, so that nothing moves to them."""
    hosts = tuple(
        replace(host, state=HostState.MAINTENANCE) if host.name in drain and host.state is HostState.UP else host
        for host in snapshot.hosts
    )
    return replace(snapshot, hosts=hosts)


def _drain(
    snapshot: Snapshot, drain: Collection[str], settings: PlannerSettings, budget: Budget
) -> tuple[Order, Stuck]:
    view = View(snapshot)
    budget.check()
    drained = np.array([host.name in drain for host in view.hosts], dtype=bool)
    return evacuate(Load(view, settings), drained, budget)


def _rounds(snapshot: Snapshot, settings: PlannerSettings, budget: Budget) -> tuple[Order, Stuck]:
    """Plan, and plan again on what the plan so far leads to, until nothing is left to do there.

    So the plan after this one is empty. The moves of all rounds become one a VM; where no order carries that out, not
    even with VMs parked, a later round follows those before it as it was found.
    """
    view, state, ordered = View(snapshot), snapshot, Order()
    budget.check()
    load = Load(view, settings)
    moves: list[Move] = []
    stuck: Stuck = []
    for _ in range(_MAX_ROUNDS):
        found, stuck = _look(state, settings, budget.after(len(moves), _gib(view, moves)))
        if not found:
            break
        tried = order(load, merged(moves + found), budget.check)
        if moves and tried.dropped:
            # The load that this round has seen: what a move is expected to do to waiting VMs is no part of the first.
            tried = ordered.then(order(Load(View(state), settings), found, budget.check))
        dropped = {move.vm for move, _ in tried.dropped}
        moves, ordered = merged(moves + [move for move in found if move.vm not in dropped]), tried
        reached = apply_plan(snapshot, steps(load, ordered))
        if reached == state or not budget.allows(len(moves)):
            break
        state = reached
    return ordered, stuck + [(move.vm, (reason,)) for move, reason in ordered.dropped]


def _gib(view: View, moves: list[Move]) -> float:
    """Memory of all VMs that move."""
    return float(view.memory_mib[[move.vm for move in moves]].sum()) / 1024


def _look(snapshot: Snapshot, settings: PlannerSettings, budget: Budget) -> tuple[list[Move], Stuck]:
    """One look at a cluster: repairs, and then what the objective asks for."""
    view = View(snapshot)
    budget.check()
    load = Load(view, settings)
    budget.check()
    goal = GOALS[settings.objective](load, settings)
    repairs, stuck = repair(load, budget)
    budget.check()
    blocked = [obstacle.to_balancing(load, vm) for vm in range(len(load.view.vms))]
    movable = np.array([reason is None for reason in blocked], dtype=bool)
    movable[[move.vm for move in repairs]] = False
    moves = repairs + goal.search(load, movable, budget.after(len(repairs), _gib(load.view, repairs)))
    if load.soft:
        movable[[move.vm for move in moves]] = False
        moves += _weighed(load, goal, movable, budget.after(len(moves), _gib(load.view, moves)))
    misplaced = {vm for vm, _ in stuck}
    left = [(vm, why) for vm, why in goal.stuck(load, blocked) if vm not in misplaced]
    return moves, stuck + [
        (vm, why + mending.held_back(load, vm)) if load.soft and blocked[vm] is None else (vm, why) for vm, why in left
    ]


def _weighed(load: Load, goal: Goal, movable: BoolArray, budget: Budget) -> list[Move]:
    """What is worth doing for soft rules, and then against them: relief and the like that weigh more than they cost."""
    moves = mending.mend(load, goal, movable, budget)
    movable[[move.vm for move in moves]] = False
    if load.settings.objective is Objective.SPREAD:
        return moves  # Evenness is never worth a broken rule.
    trial = load.copy()
    trial.firm = False
    against = goal.search(trial, movable, budget.after(len(moves), _gib(load.view, moves)))
    gain = score(mending.terms(load, goal)) - score(mending.terms(trial, goal))
    if gain > mending.least(load, [move.vm for move in against]):
        for move in against:
            load.move(move.vm, move.destination)
        moves += against
    return moves


def _unmoved(view: View, stuck: Stuck) -> tuple[Unmoved, ...]:
    unmoved = (
        Unmoved(vm=view.vms[vm].name, host=view.hosts[view.vm_host[vm]].name, reasons=reasons) for vm, reasons in stuck
    )
    return tuple(sorted(unmoved, key=lambda one: (one.host, one.vm)))


def _changes(kind: Callable[[Load, PlannerSettings], Goal], before: Load, after: Load) -> tuple[TermChange, ...]:
    terms = (mending.terms(load, kind(load, load.settings)) for load in (before, after))
    return tuple(
        TermChange(name=old.name, weight=old.weight, unit=old.unit, before=old.value, after=new.value)
        for old, new in zip(*terms, strict=True)
    )
