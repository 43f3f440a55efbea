"""Soft rules as a cost: how many VMs are where a `should` rule would not have them, and what each move changes.

Each rule counts the fewest VMs that would have to go elsewhere for it to hold: those off their pin, those too many on a
host or in a failure domain, the smaller of two groups that have met, those away from the largest part of their group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..cluster.rules import Strength
from ..filters.view import BoolArray, IntArray, View
from .settings import Objective

FloatArray = NDArray[np.float64]

WEIGHTS: Final = {Objective.CONTENTION: 0.25, Objective.SPREAD: 0.1, Objective.PACK: 0.1}
"""What one such VM weighs in the score of each objective: cores that VMs wait for, spread, hosts in use."""


@dataclass(frozen=True, slots=True)
class _Pinned:
    """VMs that belong on some hosts. As in each rule here, `members` is a mask over VMs."""

    members: BoolArray
    off: BoolArray
    """Hosts that the pin does not name."""

    def total(self, view: View) -> int:
        return int(self.off[view.vm_host[self.members & view.active]].sum())

    def change(self, view: View, homes: IntArray) -> IntArray:  # noqa: ARG002
        off: IntArray = self.off.astype(np.int64)
        change: IntArray = off - off[homes][:, np.newaxis]
        return change


@dataclass(frozen=True, slots=True)
class _Crowded:
    """At most so many of one group on a host, or in a failure domain."""

    members: BoolArray
    group: int
    most: int

    def total(self, view: View) -> int:
        counts = view.anti_affinity_counts[self.group, _one_of_each(view, self.group)]
        return int(np.maximum(0, counts - self.most).sum())

    def change(self, view: View, homes: IntArray) -> IntArray:
        counts = view.anti_affinity_counts[self.group]
        joined, left = (counts >= self.most).astype(np.int64), (counts > self.most).astype(np.int64)
        change: IntArray = _elsewhere(view, self.group, homes) * (joined - left[homes][:, np.newaxis])
        return change


@dataclass(frozen=True, slots=True)
class _Met:
    """Two groups that keep apart, seen from the VMs of one of them."""

    members: BoolArray
    group: int
    against: bool

    def total(self, view: View) -> int:
        # Told once, by the first group: what the one side breaks the other breaks too.
        first, second = view.anti_affinity_counts[self.group], view.against_counts[self.group]
        met = np.minimum(first, second)[_one_of_each(view, self.group)]
        return 0 if self.against else int(met.sum())

    def change(self, view: View, homes: IntArray) -> IntArray:
        own, other = view.anti_affinity_counts[self.group], view.against_counts[self.group]
        if self.against:
            own, other = other, own
        joined, left = (own < other).astype(np.int64), (own <= other).astype(np.int64)
        change: IntArray = _elsewhere(view, self.group, homes) * (joined - left[homes][:, np.newaxis])
        return change


@dataclass(frozen=True, slots=True)
class _Scattered:
    """VMs that belong together."""

    members: BoolArray
    group: int

    def total(self, view: View) -> int:
        counts = view.affinity_counts[self.group]
        return int(counts.sum() - counts.max(initial=0))

    def change(self, view: View, homes: IntArray) -> IntArray:
        counts = view.affinity_counts[self.group]
        largest = int(counts.max(initial=0))
        # Without the VM the largest part is one smaller only where it is the only one of that size.
        only = (counts == largest) & (np.count_nonzero(counts == largest) == 1)
        rest = largest - only.astype(np.int64)[homes]
        change = largest - np.maximum(rest[:, np.newaxis], counts + 1)
        return np.where(homes[:, np.newaxis] == np.arange(len(counts)), 0, change)


_Rule = _Pinned | _Crowded | _Met | _Scattered


class SoftRules:
    """The soft rules of a view; they look at it anew each time they are asked, so it may move on."""

    def __init__(self, view: View) -> None:
        self._rules: Sequence[_Rule] = (*_pins(view), *_apart(view), *_together(view))
        self.members: BoolArray = np.zeros(len(view.vms), dtype=bool)
        """VMs that any of them speaks of, shape (vms,)."""
        for rule in self._rules:
            self.members |= rule.members

    def __bool__(self) -> bool:
        return bool(self._rules)

    def total(self, view: View) -> int:
        """VMs that are where a rule would not have them, once for each rule."""
        return sum(rule.total(view) for rule in self._rules)

    def change(self, view: View, vms: IntArray) -> IntArray:
        """By how much the total changes when each of the running `vms` moves to each host, shape (vms, hosts)."""
        change = np.zeros((len(vms), len(view.hosts)), dtype=np.int64)
        for rule in self._rules:
            rows = np.flatnonzero(rule.members[vms])
            homes = view.vm_host[vms[rows]]
            change[rows] += rule.change(view, homes)
        return change


def breaks(view: View, vm: int) -> FloatArray:
    """How many soft rules that VM itself would break on each host, shape (hosts,)."""
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


def why(view: View, vm: int) -> str:
    """The first soft rule that the running VM breaks where it is, in words; empty when it breaks none itself."""
    need, groups, home = view.need(vm), view.groups[vm], int(view.vm_host[vm])
    for pin in groups.soft_pins:
        if not pin.allows(view.hosts[home].name):
            return f"should run on {', '.join(pin.hosts)}"
    for group in groups.anti_affinity:
        rule = view.anti_affinity[group]
        if rule.strength is Strength.SHOULD and view.apart_from(group, need)[home] >= rule.max_per_host:
            place = rule.spread_over or "host"
            if not rule.against:
                return f"at most {rule.max_per_host} of {', '.join(rule.vms)} should share a {place}"
            return f"{', '.join(rule.vms)} should share no {place} with {', '.join(rule.against)}"
    for group in groups.affinity:
        others = view.others(view.affinity_counts[group], need)
        if view.affinity[group].strength is Strength.SHOULD and others[home] != others.max(initial=0):
            return f"{', '.join(view.affinity[group].vms)} should run together"
    return ""


def _pins(view: View) -> list[_Pinned]:
    soft = [pin for pin in view.snapshot.rules.pins if pin.strength is Strength.SHOULD]
    return [
        _Pinned(
            np.array([pin in groups.soft_pins for groups in view.groups], dtype=bool),
            np.array([not pin.allows(host.name) for host in view.hosts], dtype=bool),
        )
        for pin in soft
    ]


def _apart(view: View) -> list[_Rule]:
    rules: list[_Rule] = []
    for group, rule in enumerate(view.anti_affinity):
        if rule.strength is not Strength.SHOULD:
            continue
        members = np.array([group in groups.anti_affinity for groups in view.groups], dtype=bool)
        if rule.against:
            other = np.array([group in groups.against for groups in view.groups], dtype=bool)
            rules += [_Met(members & ~other, group, against=False), _Met(other, group, against=True)]
        else:
            rules.append(_Crowded(members, group, rule.max_per_host))
    return rules


def _together(view: View) -> list[_Scattered]:
    return [
        _Scattered(np.array([group in groups.affinity for groups in view.groups], dtype=bool), group)
        for group, rule in enumerate(view.affinity)
        if rule.strength is Strength.SHOULD
    ]


def _one_of_each(view: View, group: int) -> IntArray:
    """One host of each failure domain of an anti-affinity group."""
    domains = view.domains[group]
    every: IntArray = np.arange(len(view.hosts)) if domains is None else np.unique(domains, return_index=True)[1]
    return every


def _elsewhere(view: View, group: int, homes: IntArray) -> BoolArray:
    """Hosts that the group does not count together with each of `homes`, shape (homes, hosts)."""
    domains = view.domains[group]
    places = np.arange(len(view.hosts)) if domains is None else domains
    apart: BoolArray = places[homes][:, np.newaxis] != places
    return apart
