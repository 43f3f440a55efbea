"""Capacity: how many more VMs of a kind a cluster takes, what it runs out of first, and what is left without a host.

A VM counts where every hard rule allows it and its high demand finds CPU that the host can give.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from ..cluster.model import Snapshot, Vm, VmState
from ..cluster.rules import Strength
from ..filters import registry
from ..filters.view import BoolArray, IntArray, View
from .canonical import canonical
from .load import Load
from .loss import Losses
from .settings import PlannerSettings

_NO_LIMIT = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCapacity:
    """One host: how many fit there, and what ends it: `memory`, `cpu`, `anti_affinity`, or what refuses the first."""

    host: str
    fits: int
    runs_out_of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The answer for a whole cluster."""

    fits: int
    runs_out_of: str
    """What ends it on most hosts."""
    fits_after_loss: int
    """How many still fit when the worst single host is lost and its VMs have been started on the others."""
    worst_loss: str | None
    """That host; None in a cluster without hosts that are up."""
    homeless_after_loss: int
    """VMs of that host that then find no place; not those that are lost with it wherever there is room."""
    runs_out_of_after_loss: str | None
    """What ends it then on most hosts; None when nothing fits because some of its VMs find no place."""
    hosts: tuple[HostCapacity, ...]

    def as_dict(self) -> dict[str, object]:
        """The form tools get."""
        hosts = [{"host": one.host, "fits": one.fits, "runs_out_of": one.runs_out_of} for one in self.hosts]
        return {
            "fits": self.fits,
            "runs_out_of": self.runs_out_of,
            "fits_after_loss": self.fits_after_loss,
            "worst_loss": self.worst_loss,
            "homeless_after_loss": self.homeless_after_loss,
            "runs_out_of_after_loss": self.runs_out_of_after_loss,
            "hosts": hosts,
        }


def capacity(snapshot: Snapshot, vm: Vm, settings: PlannerSettings) -> Capacity:
    """How many more VMs like `vm` the cluster takes. They are not `vm` itself, if the snapshot has it."""
    load = Load(View(canonical(snapshot)), settings)
    fresh = replace(vm, uuid="", state=VmState.STOPPED, host=None, destination=None, defined_on=())
    index = load.add(fresh)
    everywhere = np.ones(len(load.view.hosts), dtype=bool)
    now = _count(load, index, everywhere)
    hosts = tuple(
        HostCapacity(host=host.name, fits=int(fits), runs_out_of=end)
        for host, fits, end in zip(load.view.hosts, now.fits, now.ends, strict=True)
    )
    losses = Losses(load.view)
    after, worst = min(
        ((_after_loss(load, losses, index, int(host)), int(host)) for host in np.flatnonzero(load.view.up)),
        key=lambda loss: (-loss[0].homeless, loss[0].total),
        default=(None, None),
    )
    return Capacity(
        fits=now.total,
        runs_out_of=now.runs_out_of,
        fits_after_loss=0 if after is None or after.homeless else after.total,
        runs_out_of_after_loss=None if after is None or after.homeless else after.runs_out_of,
        worst_loss=None if worst is None else load.view.hosts[worst].name,
        homeless_after_loss=0 if after is None else after.homeless,
        hosts=tuple(sorted(hosts, key=lambda one: one.host)),
    )


@dataclass(frozen=True, slots=True)
class _Count:
    """How many fit on each host, what ends it there, and VMs of a lost host that found no place before."""

    fits: IntArray
    ends: tuple[str, ...]
    homeless: int = 0

    @property
    def total(self) -> int:
        return int(self.fits.sum())

    @property
    def runs_out_of(self) -> str:
        """What ends it on most hosts, of those that take any if there are some."""
        some = [end for end, fits in zip(self.ends, self.fits, strict=True) if fits] or self.ends
        return Counter(some).most_common(1)[0][0] if some else "hosts"


def _count(load: Load, vm: int, hosts: BoolArray, homeless: int = 0) -> _Count:
    """How many fit on `hosts`, shape (hosts,)."""
    limits = _limits(load, vm)
    fits = _together(load, vm, np.where(hosts, np.minimum.reduce(list(limits.values())), 0))
    ends = tuple(_ended_by(load, vm, limits, place) for place in range(len(hosts)))
    return _Count(fits, ends, homeless)


def _limits(load: Load, vm: int) -> dict[str, IntArray]:
    """How many fit on each host by each thing that can end it, shape (hosts,) each."""
    view, need = load.view, load.view.need(vm)
    rest = np.where(registry.static(view, need), _NO_LIMIT, 0)
    for rule in registry.DYNAMIC:
        if rule.CODE == "affinity":
            rest = np.where(rule.mask(view, need), rest, 0)
    limits = {
        "rules": rest,
        "memory": np.maximum(0, view.free_memory_mib // need.memory_mib),
        "cpu": load.fits_at_high(vm, load.given),
    }
    apart = []
    for group in need.groups.anti_affinity:
        group_rule = view.anti_affinity[group]
        if group_rule.strength is Strength.MUST:
            left = group_rule.max_per_host - view.apart_from(group, need)
            # Those of one group may be as many as they like where none of the other one is.
            apart.append(np.where(left > 0, _NO_LIMIT, 0) if group_rule.against else left)
    if apart:
        limits["anti_affinity"] = np.maximum(0, np.minimum.reduce(apart))
    return limits


def _together(load: Load, vm: int, fits: IntArray) -> IntArray:
    """`fits` with what hosts of one failure domain may have only together given to the first of them."""
    view, fits = load.view, fits.copy()
    for group in view.groups[vm].anti_affinity:
        rule, domains = view.anti_affinity[group], view.domains[group]
        if domains is None or rule.against or rule.strength is not Strength.MUST:
            continue
        for domain in np.unique(domains):
            hosts = np.flatnonzero(domains == domain)
            room = max(0, int(rule.max_per_host - view.anti_affinity_counts[group, hosts[0]]))
            before = np.concatenate([[0], np.cumsum(fits[hosts])[:-1]])
            fits[hosts] = np.clip(room - before, 0, fits[hosts])
    return fits


def _ended_by(load: Load, vm: int, limits: dict[str, IntArray], host: int) -> str:
    if limits["rules"][host] == 0:
        return registry.reasons(load.view, load.view.need(vm), host)[0].code
    return min(limits, key=lambda name: int(limits[name][host]))


def _after_loss(load: Load, losses: Losses, vm: int, host: int) -> _Count:
    """What fits without `host` when its VMs have been started on the others, the way that leaves most."""
    others = np.arange(len(load.view.hosts)) != host
    residents = np.flatnonzero(load.view.active & (load.view.vm_host == host))
    counts = []
    for started, homeless in losses.after(load.view, host):
        trial = load.copy()
        for resident in map(int, residents):
            if started.active[resident]:
                trial.move(resident, int(started.vm_host[resident]))
            else:
                trial.stop(resident)
        counts.append(_count(trial, vm, others, homeless))
    return min(counts, key=lambda count: (count.homeless, -count.total))
