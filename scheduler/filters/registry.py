"""All hard rules in one place, and the two questions that are asked of them.

A static filter depends on what hosts and VMs are; a dynamic one also on where VMs are now, so a search asks it anew
after each move, for many VMs at once (`rows`).
"""

from dataclasses import replace
from typing import Final, Protocol

import numpy as np

from ..cluster.reason import Reason
from . import (
    affinity,
    already_defined,
    anti_affinity,
    cpu_features,
    devices,
    domain_type,
    host_state,
    machine_type,
    memory,
    networks,
    older_hypervisor,
    pins,
    stale,
    storage,
    tsc,
)
from .view import NOWHERE, BoolArray, IntArray, Need, View


class Filter(Protocol):
    """A hard rule; a module is one."""

    CODE: str

    def mask(self, view: View, need: Need, /) -> BoolArray:
        """Hosts that take `need`, shape (hosts,)."""

    def reason(self, view: View, need: Need, host: int, /) -> Reason:
        """Why `host` does not; asked only where `mask` is false."""


class DynamicFilter(Filter, Protocol):
    """A hard rule about where VMs are."""

    def rows(self, view: View, vms: IntArray, /) -> BoolArray:
        """`mask` for each of `vms`, shape (vms, hosts)."""


STATIC: Final[tuple[Filter, ...]] = (
    host_state,
    stale,
    devices,
    domain_type,
    cpu_features,
    machine_type,
    older_hypervisor,
    networks,
    storage,
    tsc,
    pins,
    already_defined,
)
DYNAMIC: Final[tuple[DynamicFilter, ...]] = (memory, anti_affinity, affinity)
FILTERS: Final[tuple[Filter, ...]] = (*STATIC, *DYNAMIC)
RULES: Final[tuple[Filter, ...]] = (pins, anti_affinity, affinity)
"""Rules that the operator wrote: where a running VM breaks one, a move repairs it."""


def allowed(view: View, need: Need) -> BoolArray:
    """Hosts that every filter allows, shape (hosts,)."""
    mask = static(view, need).copy()
    if need.live:
        mask[need.host] = all(bool(rule.mask(view, need)[need.host]) for rule in STATIC)
    for rule in DYNAMIC:
        mask &= rule.mask(view, need)
    return mask


def elsewhere(view: View, need: Need) -> BoolArray:
    """Hosts other than its own that every filter allows, shape (hosts,); cheaper than `allowed`."""
    mask = static(view, need).copy()
    for rule in DYNAMIC:
        mask &= rule.mask(view, need)
    if need.host != NOWHERE:
        mask[need.host] = False
    return mask


def static(view: View, need: Need) -> BoolArray:
    """Hosts that the static filters allow, shape (hosts,), not to be changed.

    It is shared by all VMs of one kind, so what it says of a live VM's own host means nothing.
    """
    return _static_masks(view, need)[0]


def _static_masks(view: View, need: Need) -> tuple[BoolArray, BoolArray]:
    """What all static filters allow, shape (hosts,), and what each does, shape (filters, hosts)."""
    kind = need.kind
    if kind not in view.static_masks:
        anywhere = replace(need, host=NOWHERE) if need.movable else need
        each = np.array([rule.mask(view, anywhere) for rule in STATIC], dtype=bool)
        combined: BoolArray = np.logical_and.reduce(each)
        view.static_masks[kind] = combined, each
    return view.static_masks[kind]


def static_table(view: View) -> tuple[IntArray, BoolArray]:
    """The kind of each VM, shape (vms,), and `static` for each kind, shape (kinds, hosts); not to be changed."""
    if view.static_table is None:
        places: dict[tuple[object, ...], int] = {}
        masks: list[BoolArray] = []
        kinds = np.zeros(len(view.vms), dtype=np.int64)
        for vm in range(len(view.vms)):
            need = view.need(vm)
            place = places.setdefault(need.kind, len(masks))
            if place == len(masks):
                masks.append(static(view, need))
            kinds[vm] = place
        view.static_table = kinds, np.array(masks, dtype=bool).reshape(len(masks), len(view.hosts))
    return view.static_table


def static_rows(view: View, vms: IntArray) -> BoolArray:
    """`static` for each of `vms`, shape (vms, hosts)."""
    kinds, table = static_table(view)
    rows: BoolArray = table[kinds[vms]]
    return rows


def dynamic_rows(view: View, vms: IntArray) -> BoolArray:
    """What the dynamic filters allow for each of `vms`, shape (vms, hosts)."""
    rows = np.ones((len(vms), len(view.hosts)), dtype=bool)
    for rule in DYNAMIC:
        rows &= rule.rows(view, vms)
    return rows


def reasons(view: View, need: Need, host: int) -> tuple[Reason, ...]:
    """Every refusal of `host`; empty when it is allowed."""
    return tuple(rule.reason(view, need, host) for rule in FILTERS if not rule.mask(view, need)[host])


def refusals(view: View, need: Need, hosts: BoolArray) -> dict[int, tuple[Reason, ...]]:
    """Of each of `hosts` every refusal, none where it is allowed; each filter is asked once for all of them."""
    found: dict[int, list[Reason]] = {int(host): [] for host in np.flatnonzero(hosts)}
    if found:
        shared = _static_masks(view, need)[1]
        if need.live and hosts[need.host]:
            shared = np.array([rule.mask(view, need) for rule in STATIC], dtype=bool)
        each = np.vstack([shared, [rule.mask(view, need) for rule in DYNAMIC]])
        for place, host in np.argwhere(hosts & ~each):
            found[int(host)].append(FILTERS[place].reason(view, need, int(host)))
    return {host: tuple(reasons) for host, reasons in found.items()}
