"""How good each host would be for one VM: the table of terms that placement and evacuation share. Lower is better."""

from typing import Final

import numpy as np

from ..cluster.rules import Strength
from ..filters.view import NOWHERE, IntArray, View
from .load import FloatArray, Load

TERMS: Final = {
    "cpu": 1.0,
    "memory": 1.0,
    "waiting": 10.0,
    "soft_rules": 2.0,
    "redefine": 0.05,
}
"""Weight of each term; `docs/algorithm.md` says what each measures."""


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
    return {
        "cpu": demand / load.cpus,
        "memory": taken / np.maximum(1.0, view.capacity_mib),
        "waiting": (over > 0) + over / load.cpus,
        "soft_rules": _soft_rules(view, vm),
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


def _soft_rules(view: View, vm: int) -> FloatArray:
    """How many soft rules each host would break for `vm`, shape (hosts,)."""
    need, groups = view.need(vm), view.groups[vm]
    broken = np.zeros(len(view.hosts))
    for pin in groups.soft_pins:
        broken += [not pin.allows(host.name) for host in view.hosts]
    for group in groups.anti_affinity:
        rule = view.anti_affinity[group]
        if rule.strength is Strength.SHOULD:
            broken += view.apart_from(group, need) >= rule.max_per_host
    for group in groups.affinity:
        if view.affinity[group].strength is Strength.SHOULD:
            others = view.others(view.affinity_counts[group], need)
            broken += others != others.max(initial=0)
    return broken
