"""An order of hosts and VMs that follows from what they are and what they have to do with each other, not from names.

Hosts that look alike differ when one carries other VMs, VMs when other rules speak of them, and so on round any number
of corners. Colour refinement (Weisfeiler and Leman) finds that out: things of one colour get different ones where the
colours around them differ, again and again until that tells no more apart. Of those still alike one is then taken as
the first, and refinement goes on from there. Colours are hashes: 64 bits for some 10,000 things.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum, auto
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..cluster.membership import Memberships, memberships
from ..cluster.model import Link, Snapshot, Vm
from ..cluster.rules import Pin
from ..filters.view import BoolArray, IntArray

Colours = NDArray[np.uint64]

_CHOICES: Final = 100_000
"""How many things to look at in all while choosing one by one; it bounds the time for that to some 0.1 s."""


class _Kind(IntEnum):
    """How two things belong together."""

    CARRIES = auto()
    RECEIVES = auto()
    DEFINES = auto()
    NOT_TO = auto()
    LACKS = auto()
    SUITS = auto()
    ALLOWS = auto()
    MEMBER = auto()
    AGAINST = auto()
    SENDS = auto()
    ARRIVES = auto()


_Tie = tuple[int, int, _Kind]
"""Two things by number, and how they belong together."""


def ranks(keys: Sequence[Any]) -> IntArray:
    """The place of each of `keys` among all different ones, shape (keys,)."""
    place = {key: number for number, key in enumerate(sorted(set(keys)))}
    return np.array([place[key] for key in keys], dtype=np.int64)


class Relations:
    """Things and their ties. Things are numbered: hosts as in the snapshot, then its VMs, then rules, links, pins."""

    def __init__(self, snapshot: Snapshot) -> None:
        rules, self._hosts = snapshot.rules, {host.name: index for index, host in enumerate(snapshot.hosts)}
        self._named = len(snapshot.hosts) + len(snapshot.vms)
        self._facts: list[tuple[str, ...]] = [
            *(("apart", rule.strength, str(rule.max_per_host), str(rule.spread_over)) for rule in rules.anti_affinity),
            *(("together", rule.strength) for rule in rules.affinity),
            *(_link_facts(link) for link in snapshot.links),
        ]
        """What rules, links and pins are in themselves."""
        self._pins: dict[tuple[str, frozenset[int]], int] = {}
        numbered = list(enumerate(snapshot.vms, len(self._hosts)))
        members = enumerate(memberships(rules, snapshot.vms), len(self._hosts))
        homes = [(self._hosts[vm.host], of, _Kind.CARRIES) for of, vm in numbered if vm.host is not None]
        further = [tie for of, vm in numbered for tie in self._exceptions(of, vm)]
        affinity = self._named + len(rules.anti_affinity)
        further += [tie for of, member in members for tie in self._ruled(of, member, affinity)]
        further += self._linked(snapshot.links, affinity + len(rules.affinity))
        further += [(host, pin, _Kind.ALLOWS) for (_, hosts), pin in self._pins.items() for host in hosts]
        one, other, kinds = np.array([*homes, *further], dtype=np.int64).reshape(-1, 3).T
        self._from, self._to = np.concatenate([one, other]), np.concatenate([other, one])
        self._kinds = _mixed(np.concatenate([kinds, -kinds]).astype(np.uint64))
        self._entangled: BoolArray = np.zeros(self._named + len(self._facts), dtype=bool)
        """Things with more ties than that of a VM to its host, and the hosts of such VMs; shape (things,)."""
        self._entangled[[*one[len(homes) :], *other[len(homes) :]]] = True
        self._entangled[one[: len(homes)][self._entangled[other[: len(homes)]]]] = True

    def _exceptions(self, of: int, vm: Vm) -> Iterator[_Tie]:
        """What the VM itself has to do with hosts, beside being on one."""
        if vm.destination is not None:
            yield self._hosts[vm.destination], of, _Kind.RECEIVES
        named = [(name, _Kind.DEFINES) for name in vm.defined_on if name != vm.host]
        named += [(name, _Kind.NOT_TO) for name in vm.not_to]
        named += [(name, _Kind.LACKS if missing else _Kind.SUITS) for name, missing in vm.cpu_missing_on.items()]
        for name, kind in named:
            if name in self._hosts:
                yield self._hosts[name], of, kind

    def _ruled(self, of: int, member: Memberships, affinity: int) -> Iterator[_Tie]:
        """The rules that speak of the VM; the first of the affinities has the number `affinity`."""
        for group in member.anti_affinity:
            yield self._named + group, of, _Kind.AGAINST if group in member.against else _Kind.MEMBER
        for group in member.affinity:
            yield affinity + group, of, _Kind.MEMBER
        for pin in {*member.pins, *member.soft_pins}:
            yield self._pin(pin), of, _Kind.MEMBER

    def _linked(self, links: Sequence[Link], first: int) -> Iterator[_Tie]:
        """The two ends of each link; the first of them has the number `first`."""
        for number, link in enumerate(links, first):
            yield self._hosts[link.source], number, _Kind.SENDS
            yield self._hosts[link.destination], number, _Kind.ARRIVES

    def _pin(self, pin: Pin) -> int:
        """The number of a pin: one for all that say the same, however the operator has split them up."""
        hosts = frozenset(index for name, index in self._hosts.items() if pin.allows(name))
        if (pin.strength, hosts) not in self._pins:
            self._pins[pin.strength, hosts] = self._named + len(self._facts)
            self._facts.append(("pin", pin.strength))
        return self._pins[pin.strength, hosts]

    def order(self, alike: IntArray, names: IntArray) -> tuple[IntArray, IntArray]:
        """Hosts and VMs in order, by their positions in the snapshot.

        `alike`, shape (hosts + VMs,), goes before all else: a number for what each is in itself. `names`, of the same
        shape, decides when all else is exhausted.
        """
        hosts = len(self._hosts)
        colours = _mixed(np.concatenate([alike, ranks(self._facts)]).astype(np.uint64))
        colours[hosts : self._named] = _mixed(colours[hosts : self._named])
        colours[self._named :] = _mixed(_mixed(colours[self._named :]))
        colours = self._chosen(self._refined(colours), alike, names)
        host_order = np.lexsort((names[:hosts], colours[:hosts], alike[:hosts]))
        colours[host_order] = _mixed(np.arange(hosts).astype(np.uint64))
        colours = self._refined(colours)
        vm_order = np.lexsort((names[hosts:], colours[hosts : self._named], alike[hosts:]))
        return host_order, vm_order

    def _chosen(self, colours: Colours, alike: IntArray, names: IntArray) -> Colours:
        """Tells entangled hosts and VMs apart that are still alike: one after the other, as a choice decides others.

        What is not entangled is as good in any order.
        """
        for _ in range(_CHOICES // max(1, len(colours))):
            _, place, count = np.unique(colours[: self._named], return_inverse=True, return_counts=True)
            tied = np.flatnonzero((count[place] > 1) & self._entangled[: self._named])
            if not len(tied):
                break
            is_vm = tied >= len(self._hosts)
            first = tied[np.lexsort((names[tied], colours[tied], alike[tied], is_vm))[:1]]
            colours[first] = _mixed(colours[first])
            colours = self._refined(colours)
        return colours

    def _refined(self, colours: Colours) -> Colours:
        """The coarsest colours in which things of one colour have the same colours around them."""
        count = len(np.unique(colours))
        while True:
            around = np.zeros_like(colours)
            np.add.at(around, self._from, _mixed(colours[self._to] + self._kinds))
            finer = _mixed(colours ^ _mixed(around))
            found = len(np.unique(finer))
            if found == count:
                return colours
            colours, count = finer, found


def _link_facts(link: Link) -> tuple[str, ...]:
    return "link", str(link.bandwidth_mib_per_s), str(link.overhead_seconds), str(link.downtime_ms)


def _mixed(values: Colours) -> Colours:
    """A hash of each value: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    colours: Colours = mixed ^ (mixed >> np.uint64(31))
    return colours
