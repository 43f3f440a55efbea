"""Units: VMs that can only leave a host together, because a must-affinity binds them."""

import numpy as np

from ..cluster.rules import Strength
from ..filters import registry
from ..filters.view import View
from . import scoring
from .load import Load


def unit_of(view: View, vm: int) -> list[int]:
    """`vm` and all VMs of its host that are bound to it, directly or through others, largest first."""
    unit, groups = {vm}, set(_bonds(view, vm))
    neighbours = [int(other) for other in np.flatnonzero(view.active & (view.vm_host == view.vm_host[vm]))]
    while True:
        joining = {other for other in neighbours if other not in unit and groups.intersection(_bonds(view, other))}
        if not joining:
            return sorted(unit, key=lambda member: (-int(view.memory_mib[member]), member))
        unit |= joining
        groups.update(*(_bonds(view, member) for member in joining))


def best_host(load: Load, unit: list[int]) -> int | None:
    """The best host that can take all of `unit`, other than the one it is on; None when there is none."""
    home = int(load.view.vm_host[unit[0]])
    total = scoring.scores(scoring.terms(load, unit[0]))
    for host in map(int, scoring.best_first(load, total)):
        if host != home and fits_together(load, unit, host):
            return host
    return None


def fits_together(load: Load, unit: list[int], host: int) -> bool:
    """Whether every hard rule holds with all of `unit` on `host`, within its CPUs. The load is left as it was."""
    view = load.view
    if not load.within_cpus(float(load.demand[unit].sum()))[host]:
        return False
    if not all(registry.static(view, view.need(member))[host] for member in unit):
        return False
    home = int(view.vm_host[unit[0]])
    for member in unit:
        view.move(member, host)
    fits = all(bool(rule.mask(view, view.need(member))[host]) for member in unit for rule in registry.DYNAMIC)
    for member in unit:
        view.move(member, home)
    return fits


def _bonds(view: View, vm: int) -> list[int]:
    return [group for group in view.groups[vm].affinity if view.affinity[group].strength is Strength.MUST]
