"""Explanation: why a VM stays although it should go."""

from collections.abc import Collection

import numpy as np

from ..cluster.reason import Reason
from ..filters import registry
from ..filters.view import View

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


def named(hosts: Collection[str]) -> str:
    """Host names for a sentence, the first few of many."""
    names = sorted(set(hosts))
    more = len(names) - _SHOWN_HOSTS
    return ", ".join(names[:_SHOWN_HOSTS]) + (f" and {more} more" if more > 0 else "")
