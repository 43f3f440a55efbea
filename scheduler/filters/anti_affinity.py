"""Anti-affinity (must): at most `max_per_host` running VMs of a group on one host, those on their way included.

A group that is spread over a label of hosts (`rack`) is counted in all hosts with the same value together.
"""

import numpy as np

from ..cluster.reason import Reason
from ..cluster.rules import Strength
from .view import BoolArray, IntArray, Need, View

CODE = "anti_affinity"


def mask(view: View, need: Need) -> BoolArray:
    """Hosts where each group of `need` has a place left, shape (hosts,)."""
    free = np.ones(len(view.hosts), dtype=bool)
    for group in _must(view, need):
        free &= _free_of(view, need, group)
    return free


def rows(view: View, vms: IntArray) -> BoolArray:
    """The same for each of `vms`, shape (vms, hosts)."""
    free = np.ones((len(vms), len(view.hosts)), dtype=bool)
    for row in np.flatnonzero(view.in_groups[vms]):
        vm = vms[row]
        if view.groups[vm].anti_affinity:
            free[row] = mask(view, view.need(int(vm)))
    return free


def reason(view: View, need: Need, host: int) -> Reason:
    """Which group is full on `host`; call only where `mask` is false."""
    group = next(group for group in _must(view, need) if not _free_of(view, need, group)[host])
    rule = view.anti_affinity[group]
    running = int(view.apart_from(group, need)[host])
    runs, what = "runs", "a host"
    if rule.spread_over is not None and rule.spread_over in view.hosts[host].labels:
        runs, what = f"its {rule.spread_over} {view.hosts[host].labels[rule.spread_over]} runs", f"a {rule.spread_over}"
    return Reason(
        CODE,
        f"{runs} {running} of {', '.join(rule.vms)}, at most {rule.max_per_host} may share {what}",
        running=running,
        max_per_host=rule.max_per_host,
    )


def _must(view: View, need: Need) -> list[int]:
    return [group for group in need.groups.anti_affinity if view.anti_affinity[group].strength is Strength.MUST]


def _free_of(view: View, need: Need, group: int) -> BoolArray:
    return view.apart_from(group, need) < view.anti_affinity[group].max_per_host
