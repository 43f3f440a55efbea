"""How good each host would be for one VM: the table of terms that placement and evacuation share. Lower is better."""

from typing import Final

import numpy as np

from ..filters.view import NOWHERE, IntArray
from . import headroom, soft
from .load import FloatArray, Load
from .settings import Objective

TERMS: Final = {
    "cpu": 1.0,
    "memory": 1.0,
    "consolidation": 1.0,
    "near_limit": 1.0,
    "waiting": 1000.0,
    "soft_rules": 150.0,
    "slots_lost": 100.0,
    "loss_not_borne": 5.0,
    "redefine": 0.05,
}
"""Weight of each term; `docs/algorithm.md` says what each measures."""

NEAR_LIMIT: Final = 0.75
"""High demand above this part of what a host can give counts against it, long before anything waits there."""
EVEN_BELOW: Final = 0.1
TIGHT_ABOVE: Final = 0.4
"""In a cluster filled to less than the one part, VMs are spread evenly; from the other on evenness is worth nothing and
room for large VMs everything; between them the one fades as the other grows."""
MOST_DRAWN: Final = 1.5


def terms(load: Load, vm: int) -> dict[str, FloatArray]:
    """The unweighted terms for `vm` on each host, shape (hosts,) each, as if it were there already."""
    view = load.view
    home = int(view.vm_host[vm])
    elsewhere = np.arange(len(view.hosts)) != home
    running = bool(view.active[vm])
    joins = elsewhere | (not running)
    demand = load.host_demand + joins * load.demand[vm]
    high = np.where(joins, load.high_with(vm), load.host_high)
    over = np.maximum(0.0, high - load.given)
    taken = view.capacity_mib - view.free_memory_mib + joins * view.memory_mib[vm]
    cpu, memory = demand / load.cpus, taken / np.maximum(1.0, view.capacity_mib)
    tightness = 0.0 if running else _tightness(load)
    draw = 0.0 if load.settings.objective is Objective.SPREAD else tightness
    return {
        "cpu": cpu,
        "memory": memory,
        "consolidation": -min(1.0, draw) * cpu - draw * memory,
        "near_limit": np.clip(high / np.maximum(load.given, 1e-9) - NEAR_LIMIT, 0.0, 1.0),
        "waiting": (over > 0) + over / load.cpus,
        "soft_rules": soft.breaks(view, vm),
        "slots_lost": min(1.0, tightness) * headroom.slots_lost(load, vm),
        "loss_not_borne": headroom.losses_not_borne(load, vm),
        "redefine": (elsewhere & (not running and home != NOWHERE)).astype(float),
    }


def scores(parts: dict[str, FloatArray]) -> FloatArray:
    """The weighted sum of `terms`, rounded so that noise of arithmetic breaks no tie, shape (hosts,)."""
    total: FloatArray = np.round(sum(TERMS[name] * part for name, part in parts.items()), 9)
    return total


def best_first(load: Load, total: FloatArray) -> IntArray:
    """Hosts by score; among equals the larger and emptier first, then in the order of the view."""
    order: IntArray = np.lexsort((-load.view.free_memory_mib, -load.cpus, total))
    return order


def _tightness(load: Load) -> float:
    """How scarce room is: 0 where evenness is all that counts, 1 where it counts for nothing, at most MOST_DRAWN."""
    tightness = (headroom.filled(load) - EVEN_BELOW) / (TIGHT_ABOVE - EVEN_BELOW)
    return min(MOST_DRAWN, max(0.0, tightness))
