"""Explanation: why a VM stays although it should go."""

from collections.abc import Collection

import numpy as np

from ..cluster.reason import Reason
from ..filters import registry
from ..filters.view import View
from .load import Load

CODE_CPU_SHORT = "cpu_short"

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


def cpu_short(load: Load, vm: int) -> tuple[Reason, ...]:
    """That hosts which every filter allows have not the CPU for `vm`; empty when there is one that has, or none at all.

    Nothing is moved to a host that would then be above its CPUs.
    """
    allowed = registry.elsewhere(load.view, load.view.need(vm))
    if not allowed.any() or (allowed & load.within_cpus(float(load.demand[vm]))).any():
        return ()
    hosts = sorted(load.view.hosts[host].name for host in np.flatnonzero(allowed))
    cores = float(load.demand[vm])
    text = f"{named(hosts)}: has no {cores:.1f} cores to spare"
    return (Reason(CODE_CPU_SHORT, text, needed_cores=cores, hosts=hosts),)


def named(hosts: Collection[str]) -> str:
    """Host names for a sentence, the first few of many."""
    names = sorted(set(hosts))
    more = len(names) - _SHOWN_HOSTS
    return ", ".join(names[:_SHOWN_HOSTS]) + (f" and {more} more" if more > 0 else "")
