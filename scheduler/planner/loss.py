"""Loss: which VMs would find no place if the host they run on were lost, under all hard rules.

After a loss all VMs of the host are stopped at once and start anew elsewhere, which asks less than migrating them one
by one: what cannot migrate live may start, on an older hypervisor too, and a group is kept apart only from those that
still run. CPU is not looked at: sharing it is better than not running.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ..filters import devices, registry
from ..filters.view import BoolArray, IntArray, Need, View
from .headroom import largest_mib, spare_mib

_NO_ROOM: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class _Way:
    """An order in which lost VMs are started again, and where."""

    vms: IntArray
    fits: BoolArray
    """Hosts that the static filters leave each of them, shape (vms, hosts)."""
    fullest_first: bool


class Losses:
    """The loss of each host of a view, then and after VMs have moved."""

    def __init__(self, view: View) -> None:
        self._beginning = view.copy()
        self._before: dict[int, int] = {}
        needs = [replace(view.need(vm), live=False) for vm in range(len(view.vms))]
        self._bound: BoolArray = np.array([not devices.can_restart_elsewhere(need) for need in needs], dtype=bool)
        """VMs that are lost with their host, wherever there is room."""
        self._needs = [replace(need, movable=True) for need in needs]
        kinds: dict[tuple[object, ...], int] = {}
        masks: list[BoolArray] = []
        self._kind: IntArray = np.zeros(len(needs), dtype=np.int64)
        for vm, need in enumerate(self._needs):
            self._kind[vm] = kinds.setdefault(need.kind, len(masks))
            if self._kind[vm] == len(masks):
                masks.append(registry.static(view, need))
        self._masks: BoolArray = np.array(masks, dtype=bool).reshape(len(masks), len(view.hosts))
        """Where each kind of VM may start by the static filters, shape (kinds, hosts)."""
        self._usable: BoolArray = view.up & ~view.stale
        anywhere = (self._masks == self._usable).all(axis=1)
        self._easy: BoolArray = anywhere[self._kind] & ~view.in_groups
        """VMs that only memory can keep from a host."""

    def now(self) -> IntArray:
        """How many VMs of each host would find no place on the others in the beginning, shape (hosts,)."""
        view = self._beginning
        everywhere = np.ones(len(view.hosts), dtype=bool)
        counts: IntArray = np.zeros(len(view.hosts), dtype=np.int64)
        for host in map(int, np.flatnonzero(self._uncertain(view, everywhere))):
            counts[host] = self._homeless_before(host)
        return counts

    def worse(self, view: View, on: BoolArray) -> bool:
        """Whether any host's loss leaves more VMs without a place where only the hosts `on` can take them.

        More than it did in the beginning, or more than it would if all hosts could.
        """
        everywhere = np.ones_like(on)
        for host in map(int, np.flatnonzero(self._uncertain(view, on))):
            homeless = self.homeless(view, host, on)
            if homeless and homeless > min(self._homeless_before(host), self.homeless(view, host, everywhere)):
                return True
        return False

    def homeless(self, view: View, host: int, on: BoolArray) -> int:
        """How many VMs of `host` find no place on the other hosts `on`, by the better of two ways to place them."""
        without = _without(view, host)
        tight, loose = self._ways(view, host, on)
        left = len(self._left_over(without.copy(), tight, sure=True))
        return min(left, len(self._left_over(without.copy(), loose, sure=True))) if left else 0

    def after(self, view: View, host: int) -> Iterator[tuple[View, int]]:
        """The view after the loss of `host`, its VMs started again, and how many found no place: twice.

        One way fills the fullest hosts first, the other one the emptiest.
        """
        for way in self._ways(view, host, np.ones(len(view.hosts), dtype=bool)):
            started = _without(view, host)
            yield started, len(self._left_over(started, way, sure=False))

    def _ways(self, view: View, host: int, on: BoolArray) -> tuple[_Way, _Way]:
        residents = np.flatnonzero(view.active & (view.vm_host == host))
        vms = residents[~self._bound[residents]]
        fits = self._masks[self._kind[vms]] & on
        fits[:, host] = False
        apart = view.in_groups[vms]
        # What rules speak of comes first: as soon as only memory matters, the rest may be known to fit in any order.
        largest_first = np.lexsort((-view.memory_mib[vms], ~apart))
        pickiest_first = np.lexsort((-view.memory_mib[vms], fits.sum(axis=1), ~apart))
        return (
            _Way(vms[largest_first], fits[largest_first], fullest_first=True),
            _Way(vms[pickiest_first], fits[pickiest_first], fullest_first=False),
        )

    def _homeless_before(self, host: int) -> int:
        if host not in self._before:
            self._before[host] = self.homeless(self._beginning, host, np.ones(len(self._beginning.hosts), dtype=bool))
        return self._before[host]

    def _uncertain(self, view: View, on: BoolArray) -> BoolArray:
        """Hosts that run VMs and whose loss the sum of free memory alone does not show to be borne, shape (hosts,)."""
        used = np.zeros(len(view.hosts), dtype=bool)
        used[view.vm_host[view.active]] = True
        picky = np.zeros_like(used)
        picky[view.vm_host[view.active & ~self._easy & ~self._bound]] = True
        free = np.where(on & self._usable, view.free_memory_mib, 0)
        held = view.capacity_mib - view.free_memory_mib
        uncertain: BoolArray = used & (picky | (spare_mib(free, largest_mib(view)) < held))
        return uncertain

    def _left_over(self, view: View, way: _Way, *, sure: bool) -> list[int]:
        """VMs that find no place when started in `view`; with `sure` it ends when the rest surely fit."""
        left, last_mib = list[int](), 0
        for place, vm in enumerate(map(int, way.vms)):
            need = self._needs[vm]
            if sure and need.memory_mib != last_mib and not view.in_groups[vm]:
                last_mib = need.memory_mib
                if _fit_in_any_order(view, way.vms[place:], way.fits[place:]):
                    break
            free = self._free_for(view, need, way.fits[place])
            host = int(np.argmin(free) if way.fullest_first else np.argmax(np.where(free == _NO_ROOM, -1, free)))
            if free[host] == _NO_ROOM:
                left.append(vm)
            else:
                view.move(vm, host)
        return left

    def _free_for(self, view: View, need: Need, fits: BoolArray) -> IntArray:
        """Free memory where `need` may start, elsewhere _NO_ROOM, shape (hosts,)."""
        fits = fits.copy()
        for rule in registry.DYNAMIC:
            fits &= rule.mask(view, need)
        free: IntArray = np.where(fits, view.free_memory_mib, _NO_ROOM)
        return free


def _without(view: View, host: int) -> View:
    """The view at the moment of the loss: all that runs on `host` has stopped."""
    without = view.copy()
    for vm in map(int, np.flatnonzero(view.active & (view.vm_host == host))):
        without.stop(vm)
    return without


def _fit_in_any_order(view: View, vms: IntArray, fits: BoolArray) -> bool:
    """Whether the hosts that take every one of `vms` surely have room for all: `spare_mib` for one loss."""
    sizes = view.memory_mib[vms]
    spare = np.maximum(0, view.free_memory_mib - sizes.max())[fits.all(axis=0)]
    return bool(spare.sum() >= sizes.sum())
