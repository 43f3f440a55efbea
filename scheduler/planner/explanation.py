"""Explanation: why a VM stays although it should go, and the one sentence that says what a plan does."""

from collections.abc import Collection

import numpy as np

from ..cluster.reason import Reason
from ..filters import registry
from ..filters.view import View
from .load import Load
from .plan import Step, Unmoved

_SHOWN_HOSTS = 3


def refusals(view: View, vm: int) -> tuple[Reason, ...]:
    """Why no other host takes `vm`: one Reason for each code and text, naming the hosts that it stands for."""
    need = view.need(vm)
    hosts_by_refusal: dict[tuple[str, str], list[str]] = {}
    for rule in registry.FILTERS:
        for host in map(int, np.flatnonzero(~rule.mask(view, need))):
            if host != need.host:
                reason = rule.reason(view, need, host)
                hosts_by_refusal.setdefault((reason.code, reason.text), []).append(view.hosts[host].name)
    if len(view.hosts) == 1:
        return (Reason("no_other_host", "there is no other host"),)
    return tuple(
        Reason(code, f"{named(hosts)}: {text}", hosts=sorted(hosts)) for (code, text), hosts in hosts_by_refusal.items()
    )


def summary(
    before: Load, after: Load, steps: tuple[Step, ...], unmoved: tuple[Unmoved, ...], drain: Collection[str]
) -> str:
    """One sentence: what the plan does, or why it does nothing."""
    parts = [f"drain of {named(drain)}"] if drain else []
    if steps:
        batches = max(step.batch for step in steps)
        parts.append(f"{counted(len(steps), 'move')} in {counted(batches, 'batch')}")
    repairs = sum(step.reason.code == "repair" for step in steps)
    if repairs:
        parts.append(f"{repairs} of them to repair a rule")
    relieved = before.waiting().sum() - after.waiting().sum()
    if relieved > 0.05 and not drain:
        parts.append(f"waiting falls from {before.waiting().sum():.1f} to {after.waiting().sum():.1f} cores")
    if unmoved:
        parts.append(f"{counted(len(unmoved), 'VM')} on {named([one.host for one in unmoved])} should leave and cannot")
    if not steps:
        parts.append("nothing to move")
        if not unmoved and not drain:
            parts.append(_calm(before))
    return ", ".join(parts)


def _calm(load: Load) -> str:
    if not load.judged.any():
        return "no host is up with fresh figures"
    return "what is contended holds no VMs to move" if load.contended.any() else "no VM waits and no memory is short"


def named(hosts: Collection[str]) -> str:
    """Host names for a sentence, the first few of many."""
    names = sorted(set(hosts))
    more = len(names) - _SHOWN_HOSTS
    return ", ".join(names[:_SHOWN_HOSTS]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, noun: str) -> str:
    """`1 move`, `2 moves`, `2 batches`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}{'es' if noun.endswith('ch') else 's'}"
