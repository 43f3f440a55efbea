"""Evacuation: everything that runs on a host leaves it; cooldowns and holds do not matter, hard rules do.

Several ways out are tried: the longest migrations first, those with the fewest hosts to go to first, or, where room is
short, the largest VMs first; of VMs with unlike priorities always the most important ones. The one that leaves least
behind wins, then the one that makes fewest wait, then the one that takes the shortest time. Where VMs find no room,
others make some for them first.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import numpy as np

from ..cluster.reason import Reason
from ..filters import affinity, registry
from ..filters.view import BoolArray
from . import obstacle
from .departure import Batch, least_seconds, leave_at_once
from .explanation import cpu_short, refusals
from .load import Load
from .objective import AFTER_LIMIT, Budget, Move, Stuck, merged
from .ordering import Order, Slots, order
from .room import moves_first
from .unit import fits_together, unit_of

CODE = "drain"


class _First(Enum):
    """Who leaves first."""

    LONGEST = auto()
    """Whose migration takes longest."""
    BOUND = auto()
    """Who has the fewest hosts to go to, and of these the longest."""
    LARGEST = auto()
    """Who needs most memory."""


@dataclass(frozen=True, slots=True)
class _Way:
    """In which order VMs leave, and how a host is chosen."""

    first: _First
    tight: bool = False
    make_room: bool = False


_WAYS: Final = (
    _Way(_First.LONGEST),
    _Way(_First.BOUND),
    _Way(_First.LARGEST),
    _Way(_First.LARGEST, tight=True),
)
_WAYS_WITH_ROOM_MADE: Final = (
    _Way(_First.LONGEST, make_room=True),
    _Way(_First.LARGEST, tight=True, make_room=True),
)


@dataclass(slots=True)
class _Departures:
    """What has been found of one way."""

    load: Load
    moves: list[Move] = field(default_factory=list)
    waiting: list[list[int]] = field(default_factory=list)
    """Units that have no host yet."""
    left_out: list[list[int]] = field(default_factory=list)
    """Units for which the budget does not suffice."""
    order: Order = field(default_factory=Order)


def evacuate(load: Load, drained: BoolArray, budget: Budget) -> tuple[Order, Stuck]:
    """The moves off all `drained` hosts in batches, and what cannot leave with the reasons. `load` is left as it is.

    The view must show the drained hosts in maintenance.
    """
    units, stuck = _units(load, drained)
    seconds = {vm: float(load.leaving_seconds[vm]) for unit in units for vm in unit}
    best: _Departures | None = None
    for ways in (_WAYS, _WAYS_WITH_ROOM_MADE):
        for way in ways:
            if best is not None and (budget.expired() or _perfect(load, best, seconds)):
                break
            found = _find(load, units, seconds, way, budget)
            if best is None or _measure(load, found) < _measure(load, best):
                best = found
        if best is not None and not best.waiting:
            break
    if best is None:
        return Order(), stuck
    for unit in best.waiting:
        stuck += [(member, _refused(best.load, member)) for member in unit]
    for unit in best.left_out:
        stuck += [(member, (AFTER_LIMIT,)) for member in unit]
    stuck += [(move.vm, (reason,)) for move, reason in best.order.dropped]
    return best.order, stuck


def _find(load: Load, units: list[list[int]], seconds: dict[int, float], way: _Way, budget: Budget) -> _Departures:
    """Batch after batch, until all have left, none of the rest can, or the budget is spent."""
    found = _Departures(load.copy(), waiting=sorted(units, key=lambda unit: _turn(load, unit, seconds, way.first)))
    busy = Slots.under_way(load.view)
    while found.waiting and not budget.expired():
        goes_to = leave_at_once(found.load, Batch(found.load, busy), found.waiting, tight=way.tight)
        if not goes_to and busy.any:
            busy = Slots.none(load.view)
            continue
        busy = Slots.none(load.view)
        if not (_leave(found, goes_to, budget) or (way.make_room and _make_room(found, budget))):
            break
    if budget.expired():
        found.left_out += found.waiting
        found.waiting = []
    found.order = order(load, merged(found.moves), budget.check)
    return found


def _turn(load: Load, unit: list[int], seconds: dict[int, float], first: _First) -> tuple[float, ...]:
    view = load.view
    longest, largest = max(seconds[vm] for vm in unit), float(view.memory_mib[unit].sum())
    importance = float(view.priority[unit].max())
    if first is _First.LARGEST:
        return (-importance, -largest, -longest, unit[0])
    choices = registry.elsewhere(view, view.need(unit[0])).sum() if first is _First.BOUND else 0
    return (-importance, float(choices), -longest, -largest, unit[0])


def _leave(found: _Departures, goes_to: dict[int, int], budget: Budget) -> bool:
    """Make a batch's moves as far as the budget goes; whether that changes anything."""
    before = len(found.waiting)
    stay: list[list[int]] = []
    for unit in found.waiting:
        host = goes_to.get(unit[0])
        if host is None or not fits_together(found.load, unit, host):
            stay.append(unit)
        elif not _covers(found, unit, budget):
            found.left_out.append(unit)
        else:
            _move(found, unit, host)
    found.waiting = stay
    return len(stay) < before


def _make_room(found: _Departures, budget: Budget) -> bool:
    """Let other VMs make room for one that waits, and move it there; whether one was helped so."""
    for unit in found.waiting:
        if len(unit) > 1:
            continue
        first = moves_first(found.load, unit[0])
        if not first or not _covers(found, [*(move.vm for move in first), *unit], budget):
            continue
        trial = found.load.copy()
        for move in first:
            trial.move(move.vm, move.destination)
        if fits_together(trial, unit, first[0].source):
            found.load = trial
            found.moves += first
            _move(found, unit, first[0].source)
            found.waiting.remove(unit)
            return True
    return False


def _move(found: _Departures, unit: list[int], host: int) -> None:
    source = int(found.load.view.vm_host[unit[0]])
    reason = Reason(CODE, f"{found.load.view.hosts[source].name} is drained")
    for member in unit:
        found.moves.append(Move(vm=member, source=source, destination=host, gain=0.0, reason=reason))
        found.load.move(member, host)


def _covers(found: _Departures, vms: list[int], budget: Budget) -> bool:
    carried = [*(move.vm for move in found.moves), *vms]
    return budget.covers(len(carried), float(found.load.view.memory_mib[carried].sum()))


def _measure(load: Load, found: _Departures) -> tuple[float, float, float]:
    """VMs left behind by their importance, cores that the others make VMs wait for, seconds; less is better."""
    left = [vm for unit in (*found.waiting, *found.left_out) for vm in unit]
    left += [move.vm for move, _ in found.order.dropped]
    return float(load.importance[left].sum()), round(_contention(load, found), 6), round(_seconds(load, found.order), 6)


def _perfect(load: Load, found: _Departures, seconds: dict[int, float]) -> bool:
    left, contention, total = _measure(load, found)
    return left == 0 and contention == 0 and total <= least_seconds(load, seconds) + 1e-3


def _contention(load: Load, found: _Departures) -> float:
    """Cores of high demand above what hosts can give that were not there before."""
    before = np.maximum(0.0, load.host_high - load.given)
    after = np.maximum(0.0, found.load.host_high - load.given)
    return float(np.maximum(0.0, after - before).sum())


def _seconds(load: Load, ordered: Order) -> float:
    return sum(
        max(load.cost_between(move.vm, move.source, move.destination).seconds for move in batch)
        for batch in ordered.batches
    )


def _units(load: Load, drained: BoolArray) -> tuple[list[list[int]], Stuck]:
    """What leaves together, and the VMs that cannot leave wherever they would go."""
    units: list[list[int]] = []
    stuck: Stuck = []
    seen: set[int] = set()
    for vm in map(int, load.rows_of(drained)):
        if vm in seen:
            continue
        unit = unit_of(load.view, vm)
        seen.update(unit)
        blocked = _blocked(load, unit)
        stuck += blocked
        if not blocked:
            units.append(unit)
    return units, [(vm, why) for vm, why in stuck if why[0].code != obstacle.CODE_UNDER_WAY]


def _refused(load: Load, vm: int) -> tuple[Reason, ...]:
    together = Reason(affinity.CODE, "no host can take it together with the VMs that it belongs with")
    return (*cpu_short(load, vm), *refusals(load.view, vm)) or (together,)


def _blocked(load: Load, unit: list[int]) -> Stuck:
    """Why none of `unit` can leave; empty when all can."""
    blocked = {member: obstacle.to_leaving(load, member) for member in unit}
    anchors = [load.view.vms[member].name for member, reason in blocked.items() if reason is not None]
    if not anchors:
        return []
    tied = Reason(affinity.CODE, f"belongs with {', '.join(anchors)}, which cannot leave")
    return [(member, (reason or tied,)) for member, reason in blocked.items()]
