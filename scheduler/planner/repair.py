"""Repair: a running VM that breaks a must-rule where it is goes where it breaks none, before anything is balanced."""

import numpy as np

from ..cluster.reason import Reason
from ..filters import affinity, pins, registry
from . import obstacle
from .cost import predict
from .explanation import refusals
from .load import Load
from .objective import Budget, Move, Stuck
from .unit import best_host, unit_of

CODE = "repair"

_TOGETHER = Reason(affinity.CODE, "no host can take it together with the VMs that it belongs with")


def repair(load: Load, budget: Budget) -> tuple[list[Move], Stuck]:
    """Moves that mend rules, made in `load` too, and the VMs for which there is none, with the reasons."""
    moves: list[Move] = []
    moved: set[int] = set()
    while budget.allows(len(moves)):
        found = _next(load, moved)
        if found is None:
            break
        carried_mib = sum(int(load.view.memory_mib[move.vm]) for move in (*moves, *found))
        if not budget.covers(len(moves) + len(found), carried_mib):
            break
        for move in found:
            load.move(move.vm, move.destination)
            moved.add(move.vm)
        moves += found
    left = [(vm, _why_not(load, vm)) for vm in violations(load)]
    return moves, left


def violations(load: Load) -> dict[int, Reason]:
    """Running VMs that break a must-rule where they are, with the first rule that each breaks."""
    view, broken = load.view, {}
    for vm in map(int, np.flatnonzero(view.active)):
        groups = view.groups[vm]
        if not (groups.pins or groups.anti_affinity or groups.affinity):
            continue
        need = view.need(vm)
        for rule in registry.RULES:
            if not rule.mask(view, need)[need.host]:
                broken[vm] = rule.reason(view, need, need.host)
                break
    return broken


def _next(load: Load, moved: set[int]) -> list[Move] | None:
    """The next repair: a misplaced VM with all that is bound to it. Pins first, then what is carried soonest."""
    broken = violations(load)
    view = load.view

    def first(vm: int) -> tuple[bool, float, int]:
        return broken[vm].code != pins.CODE, predict(view.vms[vm], load.settings).seconds, vm

    for vm in sorted(broken, key=first):
        # A VM away from its group joins it alone; any other takes along what is bound to it.
        unit = [vm] if broken[vm].code == affinity.CODE else unit_of(view, vm)
        if moved.intersection(unit) or any(obstacle.to_leaving(load, member) for member in unit):
            continue
        host = best_host(load, unit)
        if host is not None:
            reason = Reason(CODE, f"where it is, a rule is broken: {broken[vm].text}", rule=broken[vm].code)
            source = int(view.vm_host[vm])
            return [Move(vm=member, source=source, destination=host, gain=0.0, reason=reason) for member in unit]
    return None


def _why_not(load: Load, vm: int) -> tuple[Reason, ...]:
    blocked = obstacle.to_leaving(load, vm)
    return (blocked,) if blocked is not None else refusals(load.view, vm) or (_TOGETHER,)
