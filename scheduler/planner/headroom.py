"""Headroom: how many VMs of each size still fit beside one more, and whether the loss of a host could still be borne.

Sizes are those of the VMs that run, each counted as often as it does: what ran so far will be asked for again.
"""

from typing import Final

import numpy as np

from ..filters.view import IntArray, View
from .load import EXPECTED_CORES_PER_VCPU, FloatArray, Load

_SIZES: Final = 12
"""Of the sizes in use, the most frequent are looked at."""
_NOTHING: Final = 1e-9
"""Rounding errors take no slot."""


def slots_lost(load: Load, vm: int) -> FloatArray:
    """The share of the slots that are left in the cluster which `vm` takes on each host, shape (hosts,), 0..1.

    A slot is room, in memory and CPU, for one VM of a size; shares are weighted by how many run of that size. What is
    scarce is dear: in an empty cluster hardly any placement costs anything, the last slot for a large VM costs much.
    """
    view = load.view
    memory_mib, cores, weight = _sizes(load)
    before = _slots(view.free_memory_mib, load.given - load.host_high, memory_mib, cores)
    after = _slots(view.free_memory_mib - view.memory_mib[vm], load.given - load.high_with(vm), memory_mib, cores)
    left = before[:, load.usable].sum(axis=1)
    lost: FloatArray = (weight / np.maximum(1.0, left)) @ (before - after)
    return lost


def filled(load: Load) -> float:
    """The part of the cluster's memory or, if that is more, of its CPU at high demand that is taken, 0..1."""
    up, view = load.usable, load.view
    memory_mib, cores = view.capacity_mib[up].sum(), load.given[up].sum()
    taken = (
        1 - view.free_memory_mib[up].sum() / memory_mib if memory_mib > 0 else 1.0,
        load.host_high[up].sum() / cores if cores > 0 else 1.0,
    )
    return float(np.clip(max(taken), 0.0, 1.0))


def losses_not_borne(load: Load, vm: int) -> FloatArray:
    """Hosts whose loss the others could bear now and could not with `vm` on each host, shape (hosts,).

    The estimate is sound for memory: VMs of at most M MiB that hold H MiB together find places one by one, in any
    order, where the others have `sum(max(0, free - M)) >= H`. Rules and CPU are not looked at.
    """
    view, size = load.view, int(load.view.memory_mib[vm])
    up = np.flatnonzero(load.usable)
    free, held = view.free_memory_mib[up], (view.capacity_mib - view.free_memory_mib)[up]
    largest = largest_mib(load.view)[up]
    spare = spare_mib(free, largest) - held
    broken = ((spare >= 0) & (spare_mib(free, np.maximum(largest, size)) - held < size)).astype(float)
    close = np.flatnonzero((spare >= 0) & (spare < size))
    above = largest[close, np.newaxis]
    taken = np.maximum(0, free - above) - np.maximum(0, free - size - above)
    taken[np.arange(len(close)), close] = 0
    broken += (taken > spare[close, np.newaxis]).sum(axis=0)
    found = np.zeros(len(view.hosts))
    found[up] = broken
    return found


def spare_mib(free: IntArray, largest: IntArray) -> IntArray:
    """What the others of the hosts take for certain of VMs of at most `largest` each, MiB, shape (hosts,)."""
    ordered = np.sort(free)
    sums = np.append(np.cumsum(ordered[::-1])[::-1], 0)
    place = np.searchsorted(ordered, largest, side="right")
    everywhere = sums[place] - (len(free) - place) * largest
    spare: IntArray = everywhere - np.maximum(0, free - largest)
    return spare


def largest_mib(view: View) -> IntArray:
    """The memory of the largest VM on each host, shape (hosts,)."""
    largest = np.zeros(len(view.hosts), dtype=np.int64)
    np.maximum.at(largest, view.vm_host[view.active], view.memory_mib[view.active])
    return largest


def _slots(free_mib: IntArray, free_cores: FloatArray, memory_mib: FloatArray, cores: FloatArray) -> FloatArray:
    """How many VMs of each size fit on each host, shape (sizes, hosts)."""
    by_memory = free_mib / memory_mib[:, np.newaxis]
    by_cpu = free_cores / np.maximum(cores, _NOTHING)[:, np.newaxis]
    slots: FloatArray = np.maximum(0.0, np.floor(np.minimum(by_memory, by_cpu) + _NOTHING))
    return slots


def _sizes(load: Load) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Memory in MiB, cores and weight of each size, shape (sizes,); the weights sum up to 1."""
    running = [item for item in load.flavours.items() if item[1] > 0]
    often = sorted(running, key=lambda item: (-item[1], item[0]))[:_SIZES]
    memory_mib, vcpus, counts = np.array([(*flavour, count) for flavour, count in often], dtype=float).reshape(-1, 3).T
    return memory_mib, EXPECTED_CORES_PER_VCPU * vcpus, counts / max(1.0, counts.sum())
