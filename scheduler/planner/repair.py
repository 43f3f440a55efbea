"""Repair: a running VM that breaks a must-rule where it is goes where it breaks none, before anything is balanced."""

from collections.abc import Mapping

import numpy as np

from ..cluster.reason import Reason
from ..cluster.rules import Strength
from ..filters import affinity, pins, registry
from ..filters.view import View
from . import obstacle
from .explanation import cpu_short, refusals
from .load import Load
from .objective import AFTER_LIMIT, Budget, Move, Stuck
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
    left = [(vm, _why_not(load, vm, reason)) for vm, reason in violations(load.view).items()]
    return moves, left


def violations(view: View) -> dict[int, Reason]:
    """Running VMs that break a must-rule where they are, with the first rule that each breaks."""
    broken = {}
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
    """The next repair: a misplaced VM with all that is bound to it. Pins first, then what is mended soonest."""
    broken, view = violations(load.view), load.view
    tolls = _tolls(load, broken)
    for vm in sorted(broken, key=lambda vm: (broken[vm].code != pins.CODE, *tolls[vm], vm)):
        unit = _unit(view, vm, broken[vm])
        if moved.intersection(unit) or any(obstacle.to_leaving(load, member) for member in unit):
            continue
        host = best_host(load, unit)
        if host is not None:
            reason = Reason(CODE, f"where it is, a rule is broken: {broken[vm].text}", rule=broken[vm].code)
            source = int(view.vm_host[vm])
            return [Move(vm=member, source=source, destination=host, gain=0.0, reason=reason) for member in unit]
    return None


def _unit(view: View, vm: int, broken: Reason) -> list[int]:
    """What moves to mend that: a VM away from its group joins it alone, any other takes along what is bound to it."""
    return [vm] if broken.code == affinity.CODE else unit_of(view, vm)


def _tolls(load: Load, broken: Mapping[int, Reason]) -> dict[int, tuple[float, float]]:
    """What it takes to mend each, and to move each: seconds, times the weight of the VM's priority.

    Where two groups have met, all VMs of one of them have to leave; the group that is carried sooner is to.
    """
    view = load.view
    own = {vm: load.importance[vm] * load.leaving_seconds[vm] for vm in broken}
    whole = dict(own)
    sides: dict[tuple[int, bool, bytes], list[int]] = {}
    for vm in broken:
        groups, home = view.groups[vm], int(view.vm_host[vm])
        for group in groups.anti_affinity:
            if view.anti_affinity[group].against and view.anti_affinity[group].strength is Strength.MUST:
                domain = np.asarray(view.counted_with(group, home)).tobytes()
                sides.setdefault((group, group in groups.against, domain), []).append(vm)
    for side in sides.values():
        together = sum(own[vm] for vm in side)
        whole |= {vm: max(whole[vm], together) for vm in side}
    return {vm: (whole[vm], own[vm]) for vm in broken}


def _why_not(load: Load, vm: int, broken: Reason) -> tuple[Reason, ...]:
    unit = _unit(load.view, vm, broken)
    blocked = obstacle.to_leaving(load, vm)
    if blocked is not None:
        return (blocked,)
    anchors = [load.view.vms[member].name for member in unit if obstacle.to_leaving(load, member) is not None]
    if anchors:
        return (Reason(affinity.CODE, f"belongs with {', '.join(anchors)}, which cannot leave"),)
    if best_host(load, unit) is not None:
        return (AFTER_LIMIT,)
    return (*cpu_short(load, vm), *refusals(load.view, vm)) or (_TOGETHER,)
