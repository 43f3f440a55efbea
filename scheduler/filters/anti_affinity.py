"""Anti-affinity (must): at most `max_per_host` running VMs of a group on one host, those on their way included.

Of a rule with two groups, no VM of one where a VM of the other runs. A group that is spread over a label of hosts
(`rack`) is counted in all hosts with the same value together.
"""

from typing import Final

import numpy as np

from ..cluster.reason import Reason
from ..cluster.rules import Strength
from .view import BoolArray, IntArray, Need, View

CODE = "anti_affinity"

_SHOWN_VMS: Final = 3


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
    """Which group is full on `host`, or what runs there of the other one; call only where `mask` is false."""
    group = next(group for group in _must(view, need) if not _free_of(view, need, group)[host])
    rule = view.anti_affinity[group]
    running = int(view.apart_from(group, need)[host])
    runs, where = "runs", "host"
    if rule.spread_over is not None and rule.spread_over in view.hosts[host].labels:
        runs, where = f"its {rule.spread_over} {view.hosts[host].labels[rule.spread_over]} runs", rule.spread_over
    if not rule.against:
        text = f"{runs} {running} of {', '.join(rule.vms)}, at most {rule.max_per_host} may share a {where}"
        return Reason(CODE, text, running=running, max_per_host=rule.max_per_host)
    own, other = (rule.against, rule.vms) if group in need.groups.against else (rule.vms, rule.against)
    met = _met(view, need, group, host)
    more = f" and {len(met) - _SHOWN_VMS} more" if len(met) > _SHOWN_VMS else ""
    # Room that is held for a VM on its way has no name here.
    shown = f"{', '.join(met[:_SHOWN_VMS])}{more}" if met else str(running)
    text = f"{runs} {shown} of {', '.join(other)}, which share no {where} with {', '.join(own)}"
    return Reason(CODE, text, running=running, vms=met)


def _must(view: View, need: Need) -> list[int]:
    return [group for group in need.groups.anti_affinity if view.anti_affinity[group].strength is Strength.MUST]


def _free_of(view: View, need: Need, group: int) -> BoolArray:
    return view.apart_from(group, need) < view.anti_affinity[group].max_per_host


def _met(view: View, need: Need, group: int, host: int) -> list[str]:
    """Names of the VMs of the other group that run on `host`, or in its failure domain, or are on their way there."""
    together = np.zeros(len(view.hosts), dtype=bool)
    together[view.counted_with(group, host)] = True
    first = group in need.groups.against
    names = []
    for vm in np.flatnonzero(view.active):
        facts, groups = view.vms[vm], view.groups[vm]
        if group not in groups.anti_affinity or (group in groups.against) is first:
            continue
        places = {int(view.vm_host[vm]), view.host_index.get(facts.destination or "", int(view.vm_host[vm]))}
        if any(together[place] for place in places):
            names.append(facts.name)
    return sorted(names)
