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
        needed_mib=need.memory_mib,
        short_mib=short_mib,
    )


def _room_mib(view: View, need: Need) -> IntArray:
    if not need.live:
        return view.free_memory_mib
    room = view.free_memory_mib.copy()
    room[need.host] += need.memory_mib
    return room
