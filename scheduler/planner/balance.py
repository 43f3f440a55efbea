"""Balance: the whole of planning. Repair first, then the objective; or, for a drain, the evacuation alone."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ..cluster.model import HostState, Snapshot
from ..filters.view import View
from . import obstacle
from .canonical import canonical
from .contention import Contention
from .cost import predict
from .evacuation import evacuate
from .explanation import summary
from .load import Load
from .objective import Budget, Goal, Move, Stuck, score
from .ordering import Order, order
from .pack import Pack
from .plan import Plan, Step, TermChange, Unmoved
from .repair import repair
from .settings import Objective, PlannerSettings
from .spread import Spread

GOALS: Final[Mapping[Objective, Callable[[Load, PlannerSettings], Goal]]] = {
    Objective.CONTENTION: Contention,
    Objective.SPREAD: Spread,
    Objective.PACK: Pack,
}


@dataclass(frozen=True, slots=True)
class _Decision:
    """What was found, before it is put in order."""

    moves: list[Move]
    stuck: Stuck


def plan(
    snapshot: Snapshot,
    settings: PlannerSettings,
    *,
    clock: Callable[[], float],
    drain: Collection[str] = (),
    seed: int = 0,
) -> Plan:
    """The moves to make now, in order, and what should move but cannot.

    `clock` gives seconds and bounds the search. `drain` names hosts to empty; then nothing else is planned. `seed`
    chooses between equally good hosts. Raises KeyError for a host to drain that the snapshot does not have.
    """
    began = clock()
    for name in drain:
        snapshot.host(name)
    view = View(canonical(_drained(snapshot, drain), seed))
    load = Load(view, settings)
    goal = GOALS[settings.objective](load, settings)
    start = load.copy()
    budget = Budget(settings.max_moves, lambda: clock() - began >= settings.time_limit_seconds)
    found = _evacuation(load, drain, budget) if drain else _balancing(load, goal, budget)
    ordered = order(start.view, found.moves, settings)
    end = start.copy()
    for move in (move for batch in ordered.batches for move in batch):
        end.move(move.vm, move.destination)
    unmoved = _unmoved(end, found.stuck + [(move.vm, (reason,)) for move, reason in ordered.dropped])
    return Plan(
        objective=settings.objective.value,
        score_before=score(goal.terms(start)),
        score_after=score(goal.terms(end)),
        planning_seconds=clock() - began,
        steps=_steps(start.view, ordered, settings),
        unmoved=unmoved,
        summary=summary(start, end, ordered, unmoved, drain),
        terms=_changes(goal, start, end),
    )


def _drained(snapshot: Snapshot, drain: Collection[str]) -> Snapshot:
    """The snapshot with the hosts to drain in maintenance, so that nothing moves to them."""
    hosts = tuple(
        replace(host, state=HostState.MAINTENANCE) if host.name in drain and host.state is HostState.UP else host
        for host in snapshot.hosts
    )
    return replace(snapshot, hosts=hosts)


def _evacuation(load: Load, drain: Collection[str], budget: Budget) -> _Decision:
    drained = np.array([host.name in drain for host in load.view.hosts], dtype=bool)
    return _Decision(*evacuate(load, drained, budget))


def _balancing(load: Load, goal: Goal, budget: Budget) -> _Decision:
    repairs, stuck = repair(load, budget)
    blocked = [obstacle.to_balancing(load, vm) for vm in range(len(load.view.vms))]
    movable = np.array([reason is None for reason in blocked], dtype=bool)
    movable[[move.vm for move in repairs]] = False
    left = None if budget.moves is None else budget.moves - len(repairs)
    moves = repairs + goal.search(load, movable, replace(budget, moves=left))
    seen = {vm for vm, _ in stuck}
    return _Decision(moves, stuck + [(vm, why) for vm, why in goal.stuck(load, blocked) if vm not in seen])


def _steps(view: View, ordered: Order, settings: PlannerSettings) -> tuple[Step, ...]:
    return tuple(
        Step(
            vm=view.vms[move.vm].name,
            uuid=view.vms[move.vm].uuid,
            source=view.hosts[move.source].name,
            destination=view.hosts[move.destination].name,
            batch=number,
            predicted_seconds=predict(view.vms[move.vm], settings).seconds,
            gain=move.gain,
            reason=move.reason,
        )
        for number, batch in enumerate(ordered.batches, start=1)
        for move in batch
    )


def _unmoved(load: Load, stuck: Stuck) -> tuple[Unmoved, ...]:
    view = load.view
    unmoved = (
        Unmoved(vm=view.vms[vm].name, host=view.hosts[view.vm_host[vm]].name, reasons=reasons) for vm, reasons in stuck
    )
    return tuple(sorted(unmoved, key=lambda one: (one.host, one.vm)))


def _changes(goal: Goal, start: Load, end: Load) -> tuple[TermChange, ...]:
    return tuple(
        TermChange(name=before.name, weight=before.weight, unit=before.unit, before=before.value, after=after.value)
        for before, after in zip(goal.terms(start), goal.terms(end), strict=True)
    )
