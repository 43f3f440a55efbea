"""Departure: which VMs leave hosts at the same time and where each goes, so that emptying takes the shortest time.

A batch lasts as long as its longest migration. So the longest go first, together, and as many as can leave and be
received at once: who finds the host that suits it best taken goes to another, or has the one that comes there go to
another (augmenting paths of a matching between VMs and hosts).
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from ..filters import registry
from ..filters.view import IntArray
from . import scoring
from .load import Load, together
from .ordering import Slots
from .unit import fits_together


class Batch:
    """Units of VMs (see `unit`) that leave at the same time, each by its first VM."""

    def __init__(self, load: Load, busy: Slots) -> None:
        self._load = load
        self._free_inbound: IntArray = np.maximum(0, load.settings.max_inbound - busy.inbound)
        self._free_outbound: IntArray = np.maximum(0, load.settings.max_outbound - busy.outbound)
        self._options: dict[int, list[int]] = {}
        self._arrivals: dict[int, list[int]] = {}

    @property
    def goes_to(self) -> dict[int, int]:
        """The host of each VM that leaves."""
        return {vm: host for host, vms in self._arrivals.items() for vm in vms}

    @property
    def full(self) -> bool:
        """Whether no host that is up can receive one more."""
        up = np.flatnonzero(self._load.view.up)
        return all(len(self._arrivals.get(host, ())) >= self._free_inbound[host] for host in map(int, up))

    def can_send(self, vm: int) -> bool:
        """Whether the VM's host can send one more."""
        return bool(self._free_outbound[self._load.view.vm_host[vm]] > 0)

    def add(self, vm: int, options: Sequence[int]) -> bool:
        """Have `vm` leave for one of `options`, best first.

        False when all of them are taken and nobody who comes there can go elsewhere.
        """
        if not self.can_send(vm):
            return False
        self._options[vm] = [host for host in options if self._free_inbound[host] > 0]
        if not self._seat(vm, set()):
            return False
        self._free_outbound[self._load.view.vm_host[vm]] -= 1
        return True

    def _seat(self, vm: int, asked: set[int]) -> bool:
        options = [host for host in self._options[vm] if host not in asked]
        for host in options:
            if len(self._arrivals.get(host, ())) < self._free_inbound[host]:
                self._arrivals.setdefault(host, []).append(vm)
                return True
        for host in options:
            asked.add(host)
            for other in list(self._arrivals[host]):
                if self._seat(other, asked):
                    self._arrivals[host].remove(other)
                    self._arrivals[host].append(vm)
                    return True
        return False


def destinations(load: Load, unit: list[int], *, tight: bool = False) -> list[int]:
    """Hosts that all of `unit` may go to, best first: no contention, then the fewest soft rules broken, nothing else.

    Among those by score, or when room is short the `tight` one first, so that the large gaps are kept for the large.
    For a unit of several VMs it is one host at most.
    """
    view, first = load.view, unit[0]
    parts = scoring.terms(load, first)
    joining, excess_squared = load.demand[unit].sum(), load.excess_squared[unit].sum()
    over = together(load.host_demand + joining, load.host_excess_squared + excess_squared) > load.given
    order = scoring.best_first(load, scoring.scores(parts))
    if tight:
        order = np.argsort(view.free_memory_mib, kind="stable")
    if len(unit) == 1:
        allowed = registry.elsewhere(view, view.need(first)) & load.within_cpus(float(load.demand[first]))
        if not allowed.any():
            return []
        drawbacks = 1000.0 * over + parts["soft_rules"] + load.closed(np.array([first]))[0]
        return [int(host) for host in order[(allowed & (drawbacks == drawbacks[allowed].min()))[order]]]
    preferred = [*order[~over[order]], *order[over[order]]]
    home = view.vm_host[first]
    return next(([int(host)] for host in preferred if host != home and fits_together(load, unit, int(host))), [])


def least_seconds(load: Load, seconds: dict[int, float]) -> float:
    """No order of batches empties the hosts of these VMs in less, wherever they go. `seconds` of each VM.

    A batch carries no more than its hosts can send, nor more than there are hosts to receive; and it lasts as long as
    its longest migration, so carrying the longest ones together is best.
    """
    sources = {int(load.view.vm_host[vm]) for vm in seconds}
    settings = load.settings
    receivers = settings.max_inbound * max(1, int(load.view.up.sum()))
    at_once = min(receivers, settings.max_outbound * max(1, len(sources)))
    by_source = ([seconds[vm] for vm in seconds if load.view.vm_host[vm] == source] for source in sources)
    each = (_batched(leaving, settings.max_outbound) for leaving in by_source)
    return max(_batched(seconds.values(), at_once), *each, 0.0)


def _batched(seconds: Iterable[float], size: int) -> float:
    """The sum of the longest of each batch when the longest `size` go first, then the next ones."""
    return sum(sorted(seconds, reverse=True)[::size])


def leave_at_once(load: Load, batch: Batch, units: Collection[list[int]], *, tight: bool) -> dict[int, int]:
    """Fill `batch` from `units`, in that order; the host of each first VM that leaves."""
    for unit in units:
        if batch.full:
            break
        if batch.can_send(unit[0]):
            batch.add(unit[0], destinations(load, unit, tight=tight))
    return batch.goes_to
