"""Affinity (must): a VM runs where the others of its group run.

Of a group that is scattered, the hosts that hold most of the others count as its place: so each repair gathers it. A VM
that is on one of several such hosts belongs there: what a repair has gathered is not taken apart again.
"""

import numpy as np

from ..cluster.reason import Reason
from ..cluster.rules import Strength
from .view import BoolArray, IntArray, Need, View

CODE = "affinity"


def mask(view: View, need: Need) -> BoolArray:
    """Hosts where each group of `need` has its place, shape (hosts,)."""
    together = np.ones(len(view.hosts), dtype=bool)
    for group in _must(view, need):
        together &= _place_of(view, need, group)
    return together


def rows(view: View, vms: IntArray) -> BoolArray:
    """The same for each of `vms`, shape (vms, hosts)."""
    together = np.ones((len(vms), len(view.hosts)), dtype=bool)
    for row in np.flatnonzero(view.in_groups[vms]):
        vm = vms[row]
        if view.groups[vm].affinity:
            together[row] = mask(view, view.need(int(vm)))
    return together


def reason(view: View, need: Need, host: int) -> Reason:
    """Which group runs elsewhere; call only where `mask` is false."""
    group = next(group for group in _must(view, need) if not _place_of(view, need, group)[host])
    places = [view.hosts[index].name for index in np.flatnonzero(_place_of(view, need, group))]
    return Reason(
        CODE, f"{', '.join(view.affinity[group].vms)} belong together, they run on {', '.join(places)}", hosts=places
    )


def _must(view: View, need: Need) -> list[int]:
    return [group for group in need.groups.affinity if view.affinity[group].strength is Strength.MUST]


def _place_of(view: View, need: Need, group: int) -> BoolArray:
    others = view.others(view.affinity_counts[group], need)
    most = others.max(initial=0)
    at_home: BoolArray = others == most
    if most and need.live and at_home[need.host]:
        at_home = np.arange(len(others)) == need.host
    return at_home
