"""Memory: a host must hold the VM beside its reserve and all that is already on its way to it."""

import numpy as np

from ..cluster.reason import Reason
from .view import BoolArray, IntArray, Need, View

CODE = "memory_short"


def mask(view: View, need: Need) -> BoolArray:
    """Hosts with room for `need`, shape (hosts,)."""
    return _room_mib(view, need) >= need.memory_mib


def rows(view: View, vms: IntArray) -> BoolArray:
    """Hosts with room for each of `vms` beside where it is, shape (vms, hosts)."""
    room = view.free_memory_mib >= view.memory_mib[vms][:, np.newaxis]
    live = np.flatnonzero(view.active[vms])
    home = view.vm_host[vms[live]]
    room[live, home] = view.free_memory_mib[home] >= 0
    return room


def reason(view: View, need: Need, host: int) -> Reason:
    """Why `host` has no room; call only where `mask` is false."""
    short_mib = int(need.memory_mib - _room_mib(view, need)[host])
    return Reason(
        CODE,
        f"needs {need.memory_mib:,} MiB, {short_mib:,} MiB short",
        remedy=_remedy(view, need, host, short_mib),
        needed_mib=need.memory_mib,
        short_mib=short_mib,
    )


def _remedy(view: View, need: Need, host: int, short_mib: int) -> str:
    """The smallest VM whose leaving makes the room; where none is large enough, nothing single does."""
    large_enough = [
        vm
        for vm in np.flatnonzero(view.active & (view.vm_host == host) & (view.memory_mib >= short_mib))
        if view.vms[vm].movable and not (need.live and need.host == host)
    ]
    if not large_enough:
        return ""
    least = view.vms[min(large_enough, key=lambda vm: (view.vms[vm].memory_mib, view.vms[vm].name))]
    return f"migrate {least.name}, {least.memory_mib:,} MiB, away from there first"


def _room_mib(view: View, need: Need) -> IntArray:
    if not need.live:
        return view.free_memory_mib
    room = view.free_memory_mib.copy()
    room[need.host] += need.memory_mib
    return room
