"""Soundness: what a cluster is asked for and cannot give, told before it hurts, each with the least that shows it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..cluster.model import Snapshot, Vm
from ..cluster.rules import AntiAffinity, Rules, selected_by_any
from ..filters.view import View
from .feasibility import MEMORY, RuleKey, conflicts, least
from .loss import Losses

_TOLD_LOSSES: Final = 10
"""Of so many hosts whose loss is not borne it is told which VMs would show that; of more there is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One thing that is wrong."""

    check: str
    """`rules`: must-rules that cannot all hold. `selector`: one that means nothing. `loss`: of `host`, not borne."""
    host: str | None = None
    text: str


def soundness(snapshot: Snapshot) -> list[Flaw]:
    """All flaws: contradictory rules, selectors without a VM or a host, hosts whose loss the others cannot bear."""
    return [*_contradictions(snapshot), *_void_selectors(snapshot), *_losses(snapshot)]


def described(key: RuleKey, rules: Rules) -> str:
    """A must-rule in words: `db-* on node1, node2`."""
    if key == MEMORY:
        return "the memory that the hosts have for VMs"
    kind, index = key
    if kind == "pins":
        pin = rules.pins[index]
        return f"{pin.vm} on {', '.join(pin.hosts)}"
    if kind == "affinity":
        return f"{', '.join(rules.affinity[index].vms)} together"
    return _apart(rules.anti_affinity[index])


def _apart(rule: AntiAffinity) -> str:
    place = rule.spread_over or "host"
    if rule.against:
        return f"{', '.join(rule.vms)} and {', '.join(rule.against)} on no {place} together"
    return f"{', '.join(rule.vms)} apart, at most {rule.max_per_host} a {place}"


def _contradictions(snapshot: Snapshot) -> Iterator[Flaw]:
    for conflict in conflicts(snapshot.rules, snapshot.vms, snapshot.hosts):
        asked = "; ".join(described(key, snapshot.rules) for key in conflict.rules)
        cannot = "cannot all hold" if len(conflict.rules) > 1 else "cannot hold"
        yield Flaw(check="rules", text=f"{cannot} for {', '.join(conflict.vms)}: {asked}")


def _void_selectors(snapshot: Snapshot) -> Iterator[Flaw]:
    names = [host.name for host in snapshot.hosts]
    for index, pin in enumerate(snapshot.rules.pins):
        yield from _meaning_no_vm(f"pins[{index}]", [pin.vm], snapshot.vms)
        if not any(map(pin.allows, names)):
            yield Flaw(check="selector", text=f"pins[{index}]: {', '.join(pin.hosts)} means no host")
    for index, rule in enumerate(snapshot.rules.anti_affinity):
        yield from _meaning_no_vm(f"anti_affinity[{index}]", (*rule.vms, *rule.against), snapshot.vms)
    for index, together in enumerate(snapshot.rules.affinity):
        yield from _meaning_no_vm(f"affinity[{index}]", together.vms, snapshot.vms)
    for index, entry in enumerate(snapshot.rules.priorities):
        yield from _meaning_no_vm(f"priorities[{index}]", entry.vms, snapshot.vms)


def _meaning_no_vm(place: str, selectors: Iterable[str], vms: Sequence[Vm]) -> Iterator[Flaw]:
    for selector in selectors:
        if not any(selected_by_any([selector], name=vm.name, uuid=vm.uuid, labels=vm.labels) for vm in vms):
            yield Flaw(check="selector", text=f"{place}: {selector} means no VM")


def _losses(snapshot: Snapshot) -> Iterator[Flaw]:
    view = View(snapshot)
    losses = Losses(view)
    homeless = losses.now()
    worst_first = [int(host) for host in np.argsort(-homeless, kind="stable") if homeless[host]]
    for host in worst_first[:_TOLD_LOSSES]:
        few = [view.vms[vm] for vm in _left_without_place(view, losses, host)]
        of = f"{homeless[host]} of its VMs find no place on the others" if homeless[host] > 1 else "a VM finds no place"
        needed = f"{', '.join(vm.name for vm in few)} ({sum(vm.memory_mib for vm in few):,} MiB)"
        yield Flaw(check="loss", host=view.hosts[host].name, text=f"if it is lost, {of}: already not {needed}")
    if more := worst_first[_TOLD_LOSSES:]:
        yield Flaw(check="loss", text=f"nor could the loss of {len(more)} more hosts be borne")


def _left_without_place(view: View, losses: Losses, host: int) -> list[int]:
    """The least of the host's VMs that find no place together; were any of them not there, the others would."""
    everywhere = np.ones(len(view.hosts), dtype=bool)
    residents = [int(vm) for vm in np.flatnonzero(view.active & (view.vm_host == host))]

    def homeless(some: Sequence[int]) -> bool:
        fewer = view.copy()
        for vm in set(residents) - set(some):
            fewer.stop(vm)
        return losses.homeless(fewer, host, everywhere) > 0

    return least(residents, homeless)
