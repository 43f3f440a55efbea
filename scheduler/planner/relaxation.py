"""Relaxation: all that would have to change for a host to take a VM, found by changing it and asking the filters again.

What is cheapest to change comes first: a rule is a line in the config, a device or a CPU may be a purchase.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from ..cluster.membership import Memberships
from ..cluster.reason import Reason
from ..filters import (
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
    registry,
    stale,
    storage,
    tsc,
)
from ..filters.view import Need, View

COST_ORDER: Final = (
    stale.CODE,
    stale.CODE_DOUBTED,
    pins.CODE,
    anti_affinity.CODE,
    affinity.CODE,
    host_state.CODE,
    already_defined.CODE,
    memory.CODE,
    networks.CODE,
    storage.CODE,
    machine_type.CODE,
    cpu_features.CODE_UNKNOWN,
    cpu_features.CODE,
    tsc.CODE,
    domain_type.CODE,
    older_hypervisor.CODE,
    devices.CODE,
)
"""From what is changed most easily to what is hardest to change."""

_Relax = Callable[[View, Need, int], tuple[View, Need, str]]


def changes(view: View, need: Need, host: int) -> tuple[Reason, ...]:
    """All that has to change before `host` takes `need`, the cheapest first; empty when it does already.

    Each is named after the filter that refuses. After all of them every filter was asked again and allows it.
    """
    found: list[Reason] = []
    for rule in registry.FILTERS:
        while not rule.mask(view, need)[host]:
            refusal = rule.reason(view, need, host)
            view, need, text = _RELAX[rule.CODE](view, need, host)
            found.append(Reason(refusal.code, text, remedy=refusal.remedy, **refusal.details))
    return tuple(sorted(found, key=lambda change: _rank(change.code)))


def cost(needed: tuple[Reason, ...]) -> tuple[list[int], int]:
    """How dear changes are together: the dearest counts first, then the next; then the memory that is short."""
    ranks = sorted((_rank(change.code) for change in needed), reverse=True)
    short = [change.details.get("short_mib", 0) for change in needed]
    return ranks, sum(one for one in short if isinstance(one, int))


def _rank(code: str) -> int:
    return COST_ORDER.index(code)


def _up(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    changed = view.copy()
    changed.up = view.up.copy()
    changed.up[host] = True
    return changed, need, f"{view.hosts[host].name} were up and in service"


def _fresh(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    changed = view.copy()
    changed.stale, changed.doubted = view.stale.copy(), view.doubted.copy()
    changed.stale[host] = changed.doubted[host] = False
    name = view.hosts[host].name
    return changed, need, f"fresh figures of {name} were there" if view.stale[host] else f"{name} told what can be"


def _more_memory(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    short_mib = memory.reason(view, need, host).details["short_mib"]
    assert isinstance(short_mib, int)  # noqa: S101 - the filter says so
    text = f"{view.hosts[host].name} had {short_mib:,} MiB more free"
    return view, replace(need, memory_mib=need.memory_mib - short_mib), text


def _soft_pin(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    pin = next(pin for pin in need.groups.pins if not pin.allows(view.hosts[host].name))
    others = tuple(other for other in need.groups.pins if other is not pin)
    text = f"the pin of {pin.vm} to {', '.join(pin.hosts)} were soft"
    return view, _with_groups(need, replace(need.groups, pins=others)), text


def _soft_anti_affinity(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    kept = need.groups.anti_affinity
    for group in kept:
        alone = _with_groups(need, replace(need.groups, anti_affinity=(group,)))
        if not anti_affinity.mask(view, alone)[host]:
            kept = tuple(other for other in kept if other != group)
            text = f"the anti-affinity of {', '.join(view.anti_affinity[group].vms)} were soft"
            return view, _with_groups(need, replace(need.groups, anti_affinity=kept)), text
    raise AssertionError("a group refuses")


def _soft_affinity(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    for group in need.groups.affinity:
        alone = _with_groups(need, replace(need.groups, affinity=(group,)))
        if not affinity.mask(view, alone)[host]:
            kept = tuple(other for other in need.groups.affinity if other != group)
            text = f"the affinity of {', '.join(view.affinity[group].vms)} were soft"
            return view, _with_groups(need, replace(need.groups, affinity=kept)), text
    raise AssertionError("a group refuses")


def _with_groups(need: Need, groups: Memberships) -> Need:
    return replace(need, groups=groups)


def _undefined(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    name = {view.hosts[host].name}
    left = replace(need, defined_elsewhere=need.defined_elsewhere - name, namesakes_on=need.namesakes_on - name)
    return view, left, f"the other definition on {view.hosts[host].name} were gone"


def _cpu(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    text = cpu_features.reason(view, need, host).text
    allowed = {**need.cpu_missing_on, view.hosts[host].name: frozenset[str]()}
    return view, replace(need, cpu_missing_on=allowed), f"the VM's CPU asked for less ({text})"


def _networks(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    there = view.hosts[host].networks or frozenset[str]()
    missing = ", ".join(sorted(need.networks - there))
    return view, replace(need, networks=need.networks & there), f"{view.hosts[host].name} had {missing}"


def _storage(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    there = view.hosts[host].storage or frozenset[str]()
    missing = ", ".join(sorted(need.storage - there))
    text = f"{view.hosts[host].name} had the storage pool {missing}"
    return view, replace(need, storage=need.storage & there), text


def _machine_type(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    text = f"the QEMU of {view.hosts[host].name} offered the machine type {need.machine_type}"
    return view, replace(need, machine_type=None), text


def _any_tsc(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    return view, replace(need, tsc_hz=None), f"the TSC of {view.hosts[host].name} were as fast as the guest's"


def _domain_type(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    return view, replace(need, domain_type=None), f"{view.hosts[host].name} offered {need.domain_type}"


def _newer(view: View, need: Need, host: int) -> tuple[View, Need, str]:
    text = f"{view.hosts[host].name} had the QEMU and libvirt of where it runs, or newer"
    return view, replace(need, versions=(None, None)), text


def _movable(view: View, need: Need, host: int) -> tuple[View, Need, str]:  # noqa: ARG001 - as all the others
    without = f"it were without {', '.join(need.blockers)}" if need.blockers else "it were marked as movable"
    return view, replace(need, movable=True, blockers=()), without


_RELAX: Final[Mapping[str, _Relax]] = {
    host_state.CODE: _up,
    stale.CODE: _fresh,
    memory.CODE: _more_memory,
    pins.CODE: _soft_pin,
    anti_affinity.CODE: _soft_anti_affinity,
    affinity.CODE: _soft_affinity,
    already_defined.CODE: _undefined,
    cpu_features.CODE: _cpu,
    networks.CODE: _networks,
    storage.CODE: _storage,
    machine_type.CODE: _machine_type,
    tsc.CODE: _any_tsc,
    domain_type.CODE: _domain_type,
    older_hypervisor.CODE: _newer,
    devices.CODE: _movable,
}
