"""Membership: the rules that speak of each VM, looked up for all VMs of a cluster at once."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Final

from .model import Vm
from .rules import Pin, Rules, Strength


@dataclass(frozen=True, slots=True, kw_only=True)
class Memberships:
    """The rules that speak of one VM: its must-pins, and the positions of its groups in the snapshot's rules."""

    pins: tuple[Pin, ...] = ()
    anti_affinity: tuple[int, ...] = ()
    """Those that keep it apart from any VM, in whichever of two groups it is."""
    against: tuple[int, ...] = ()
    """Those of `anti_affinity` in which it belongs to the other group."""
    affinity: tuple[int, ...] = ()
    soft_pins: tuple[Pin, ...] = ()


_NONE: Final = Memberships()
_GLOB: Final = frozenset("*?[")


def memberships(rules: Rules, vms: Sequence[Vm]) -> tuple[Memberships, ...]:
    """What `rules` say of each of `vms`."""
    if not (rules.pins or rules.anti_affinity or rules.affinity):
        return (_NONE,) * len(vms)
    register = Register(vms)
    pins = _by_vm(register.meant((pin.vm,)) for pin in rules.pins)
    apart = _by_vm(register.meant(rule.vms) for rule in rules.anti_affinity)
    opposed = _by_vm(register.meant(rule.against) for rule in rules.anti_affinity)
    affinity = _by_vm(register.meant(rule.vms) for rule in rules.affinity)
    spoken_of = pins.keys() | apart.keys() | opposed.keys() | affinity.keys()

    def of(vm: int) -> Memberships:
        own = [rules.pins[place] for place in pins.get(vm, ())]
        first = apart.get(vm, [])
        against = tuple(group for group in opposed.get(vm, ()) if group not in first)
        return Memberships(
            pins=tuple(pin for pin in own if pin.strength is Strength.MUST),
            anti_affinity=tuple(sorted((*first, *against))),
            against=against,
            affinity=tuple(affinity.get(vm, ())),
            soft_pins=tuple(pin for pin in own if pin.strength is Strength.SHOULD),
        )

    return tuple(of(vm) if vm in spoken_of else _NONE for vm in range(len(vms)))


class Register:
    """VMs by name and UUID: selects among all what `rules.selects` says of one."""

    def __init__(self, vms: Sequence[Vm]) -> None:
        self._vms = vms
        self._known_as: dict[str, list[int]] = defaultdict(list)
        self._uuids: dict[str, list[int]] = defaultdict(list)
        for index, vm in enumerate(vms):
            self._known_as[vm.name].append(index)
            self._uuids[vm.uuid.lower()].append(index)

    def meant(self, selectors: Iterable[str]) -> frozenset[int]:
        """The positions of the VMs that at least one of `selectors` means."""
        return frozenset(index for selector in selectors for index in self._meant_by(selector))

    def _meant_by(self, selector: str) -> Iterator[int]:
        if selector.startswith("tag:"):
            key, equals, value = selector.removeprefix("tag:").partition("=")
            for index, vm in enumerate(self._vms):
                if key in vm.labels and (not equals or vm.labels[key] == value):
                    yield index
            return
        yield from self._known_as.get(selector, ())
        yield from self._uuids.get(selector.lower(), ())
        if not _GLOB.isdisjoint(selector):
            matches = re.compile(translate(selector)).match
            for name, indices in self._known_as.items():
                if matches(name):
                    yield from indices


def _by_vm(meant: Iterable[frozenset[int]]) -> dict[int, list[int]]:
    """The places of the rules that mean each VM, in order."""
    found: dict[int, list[int]] = defaultdict(list)
    for place, vms in enumerate(meant):
        for vm in vms:
            found[vm].append(place)
    return found
