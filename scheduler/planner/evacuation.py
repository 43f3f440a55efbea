"""Evacuation: everything that runs on a host leaves it; cooldowns and holds do not matter, hard rules do."""

from ..cluster.reason import Reason
from ..filters import affinity
from ..filters.view import BoolArray
from . import obstacle
from .explanation import refusals
from .load import Load
from .objective import AFTER_LIMIT, Budget, Move, Stuck
from .unit import best_host, unit_of

CODE = "drain"


def evacuate(load: Load, drained: BoolArray, budget: Budget) -> tuple[list[Move], Stuck]:
    """Moves off all `drained` hosts, made in `load` too, and what cannot leave with the reasons.

    The view must show the drained hosts in maintenance. The most important VMs go first, the largest
    of them while there is most room.
    """
    view = load.view
    waiting = [int(vm) for vm in load.rows_of(drained)]
    waiting.sort(key=lambda vm: (-int(view.priority[vm]), -int(view.memory_mib[vm]), vm))
    moves: list[Move] = []
    stuck: Stuck = []
    seen: set[int] = set()
    for vm in waiting:
        if vm in seen:
            continue
        unit = unit_of(view, vm)
        seen.update(unit)
        carried_mib = sum(int(view.memory_mib[one]) for one in (*(move.vm for move in moves), *unit))
        if budget.expired() or not budget.covers(len(moves) + len(unit), carried_mib):
            stuck += [(member, (AFTER_LIMIT,)) for member in unit]
            continue
        blocked = _blocked(load, unit)
        host = None if blocked else best_host(load, unit)
        if host is None:
            stuck += blocked or [(member, _refused(load, member)) for member in unit]
            continue
        source = int(view.vm_host[vm])
        reason = Reason(CODE, f"{view.hosts[source].name} is drained")
        for member in unit:
            moves.append(Move(vm=member, source=source, destination=host, gain=0.0, reason=reason))
            load.move(member, host)
    return moves, [(vm, why) for vm, why in stuck if why[0].code != obstacle.CODE_UNDER_WAY]


def _refused(load: Load, vm: int) -> tuple[Reason, ...]:
    together = Reason(affinity.CODE, "no host can take it together with the VMs that it belongs with")
    return refusals(load.view, vm) or (together,)


def _blocked(load: Load, unit: list[int]) -> Stuck:
    """Why none of `unit` can leave; empty when all can."""
    blocked = {member: obstacle.to_leaving(load, member) for member in unit}
    anchors = [load.view.vms[member].name for member, reason in blocked.items() if reason is not None]
    if not anchors:
        return []
    tied = Reason(affinity.CODE, f"belongs with {', '.join(anchors)}, which cannot leave")
    return [(member, (reason or tied,)) for member, reason in blocked.items()]
