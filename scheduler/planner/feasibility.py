"""Whether must-rules can hold together at all and, when not, a few of them and of their VMs that already cannot.

An exact search over all ways to put the VMs that rules speak of on hosts. It gives up after `STEPS`: then nothing is
said. So what is told to contradict does, and of what is told nothing can be left out without the rest being possible.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, combinations
from typing import Final, TypeAlias, TypeVar

from ..cluster.model import Host, Vm
from ..cluster.rules import Rules, Strength, selected_by_any

STEPS: Final = 300_000
"""So often it is asked whether a unit fits on a host: about a second."""
_MOST_UNITS: Final = 300
_MOST_KINDS: Final = 8
_T = TypeVar("_T")

RuleKey: TypeAlias = tuple[str, int]
"""The list that a rule stands in and its number there: `("pins", 3)`; MEMORY is no rule, but binds as one."""
MEMORY: Final[RuleKey] = ("memory", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bond:
    """What one rule asks. VMs and hosts are numbers."""

    key: RuleKey
    allowed: frozenset[int] | None = None
    """A pin: the hosts its VMs may be on."""
    together: bool = False
    weights: Mapping[int, int]
    """Its VMs, and what each counts."""
    against: frozenset[int] = frozenset()
    """VMs that share no place with the others."""
    places: tuple[int, ...] = ()
    """For each host the place that it counts as."""
    most: Mapping[int, int] = field(default_factory=dict)
    """What a place can take; one that is not there takes all."""

    def of(self, vms: frozenset[int]) -> "Bond":
        """The same for these VMs alone."""
        weights = {vm: weight for vm, weight in self.weights.items() if vm in vms}
        return replace(self, weights=weights, against=self.against & vms)

    @property
    def vms(self) -> frozenset[int]:
        """All it speaks of."""
        return frozenset(self.weights) | self.against


@dataclass(frozen=True, slots=True)
class Conflict:
    """Rules that cannot all hold, and names of VMs for which they cannot. Without any one of these, they could."""

    rules: tuple[RuleKey, ...]
    vms: tuple[str, ...]


def conflicts(rules: Rules, vms: Sequence[Vm], hosts: Sequence[Host]) -> list[Conflict]:
    """Contradictions among the must-rules for these VMs on these hosts, each rule in one at most.

    Memory counts beside the rules for VMs that run, where that of all hosts is known.
    """
    bonds, found = _bonds(rules, vms, hosts), []
    everything = frozenset[int]().union(*(bond.vms for bond in bonds))
    while not _possible(bonds, everything, len(hosts)):
        guilty = least(bonds, lambda some: not _possible(some, everything, len(hosts)))
        few = least(sorted(everything), _impossible_for(guilty, len(hosts)))
        found.append(Conflict(tuple(bond.key for bond in guilty), tuple(vms[vm].name for vm in few)))
        # Memory alone may go on to contradict others.
        told = {bond.key for bond in guilty if bond.key != MEMORY or len(guilty) == 1}
        bonds = [bond for bond in bonds if bond.key not in told]
    return found


def _impossible_for(bonds: Sequence[Bond], hosts: int) -> Callable[[Sequence[int]], bool]:
    return lambda vms: not _possible(bonds, frozenset(vms), hosts)


def least(items: Sequence[_T], impossible: Callable[[Sequence[_T]], bool]) -> list[_T]:
    """Of `items`, which are impossible together, as many as are needed for that: each is left out in turn."""
    kept = list(items)
    size = len(kept)
    while size := size // 2:  # whole stretches first, single ones last
        for start in range(0, len(kept), size)[::-1]:
            fewer = kept[:start] + kept[start + size :]
            if impossible(fewer):
                kept = fewer
    return kept


def _bonds(rules: Rules, vms: Sequence[Vm], hosts: Sequence[Host]) -> list[Bond]:
    every_host = tuple(range(len(hosts)))

    def meant(selectors: Iterable[str]) -> dict[int, int]:
        wanted = tuple(selectors)
        return {
            number: 1
            for number, vm in enumerate(vms)
            if selected_by_any(wanted, name=vm.name, uuid=vm.uuid, labels=vm.labels)
        }

    bonds = [
        Bond(
            key=("pins", index),
            weights=meant([pin.vm]),
            allowed=frozenset(number for number, host in enumerate(hosts) if pin.allows(host.name)),
        )
        for index, pin in enumerate(rules.pins)
        if pin.strength is Strength.MUST
    ]
    bonds += [
        Bond(key=("affinity", index), weights=meant(rule.vms), together=True)
        for index, rule in enumerate(rules.affinity)
        if rule.strength is Strength.MUST
    ]
    for index, rule in enumerate(rules.anti_affinity):
        if rule.strength is not Strength.MUST:
            continue
        weights, places = meant(rule.vms), _places(rule.spread_over, hosts)
        against = frozenset(meant(rule.against)) - weights.keys()
        most = {} if rule.against else dict.fromkeys(places, rule.max_per_host)
        bonds.append(Bond(key=("anti_affinity", index), weights=weights, places=places, against=against, most=most))
    bound = frozenset(chain.from_iterable(bond.vms for bond in bonds))
    if all(host.memory_mib for host in hosts):
        weights = {vm: vms[vm].memory_mib for vm in bound if vms[vm].active}
        most = {number: host.memory_mib - host.reserved_memory_mib for number, host in enumerate(hosts)}
        bonds.append(Bond(key=MEMORY, weights=weights, places=every_host, most=most))
    return bonds


def _places(label: str | None, hosts: Sequence[Host]) -> tuple[int, ...]:
    """Hosts with the same value of `label` are one place, named by the first of them."""
    first: dict[str, int] = {}
    return tuple(
        first.setdefault(host.labels[label], number) if label is not None and label in host.labels else number
        for number, host in enumerate(hosts)
    )


def _possible(bonds: Sequence[Bond], vms: frozenset[int], hosts: int) -> bool:
    """Whether these VMs can be placed so that all bonds hold; also when that was not found out in time."""
    search = _Search([bond.of(vms) for bond in bonds], hosts)
    if not search.may_be_possible():
        return False
    if len(search.domains) > _MOST_UNITS:
        return True
    try:
        return search.place_the_rest()
    except TimeoutError:
        return True


class _Search:
    """Puts units, VMs that belong together, on hosts, the one with the fewest hosts left first."""

    def __init__(self, bonds: Sequence[Bond], hosts: int) -> None:
        self._hosts = range(hosts)
        self._bonds = [bond for bond in bonds if bond.places]
        self._units = _units(bonds)
        self.domains = _domains(self._units, bonds, hosts)
        self._on: dict[frozenset[int], int] = {}
        self._load: list[Counter[int]] = [Counter() for _ in self._bonds]
        self._other: list[Counter[int]] = [Counter() for _ in self._bonds]
        self._steps = 0

    @cached_property
    def _alike(self) -> list[tuple[object, ...]]:
        """What hosts are to the rules: of those that are alike and empty, one stands for all."""
        domains = set(self.domains.values())
        sizes = [Counter(bond.places) for bond in self._bonds]
        return [
            (
                tuple(host in domain for domain in domains),
                tuple(
                    (bond.places[host], 0) if size[bond.places[host]] > 1 else (-1, bond.most.get(host))
                    for bond, size in zip(self._bonds, sizes, strict=True)
                ),
            )
            for host in self._hosts
        ]

    def may_be_possible(self) -> bool:
        """Whether each bond by itself leaves room: Hall's condition, over kinds of units with the same hosts."""
        return all(self._room_for_all(bond) for bond in self._bonds if bond.most)

    def _room_for_all(self, bond: Bond) -> bool:
        places = {domain: frozenset(bond.places[host] for host in domain) for domain in set(self.domains.values())}
        supply: dict[frozenset[int], int] = defaultdict(int)
        for unit, domain in self.domains.items():
            supply[places[domain]] += sum(bond.weights.get(vm, 0) for vm in unit)
        kinds = list(supply)
        sizes = range(1, len(kinds) + 1) if len(kinds) <= _MOST_KINDS else (1, len(kinds))
        return all(
            sum(supply[kind] for kind in some) <= sum(bond.most[place] for place in frozenset().union(*some))
            for size in sizes
            for some in combinations(kinds, size)
        )

    def place_the_rest(self) -> bool:
        """Whether all units that have no host yet can get one. TimeoutError after STEPS."""
        left = [unit for unit in self._units if unit not in self._on]
        if not left:
            return True
        self._steps += len(left) * len(self._hosts)
        if self._steps > STEPS:
            raise TimeoutError
        choices = {unit: [host for host in self.domains[unit] if self._fits(unit, host)] for unit in left}
        unit = min(left, key=lambda one: len(choices[one]))
        for host in self._unlike(choices[unit]):
            self._count(unit, host, 1)
            self._on[unit] = host
            if self.place_the_rest():
                return True
            del self._on[unit]
            self._count(unit, host, -1)
        return False

    def _unlike(self, hosts: Iterable[int]) -> Iterator[int]:
        used, seen = set(self._on.values()), set()
        for host in sorted(hosts):
            if host not in used:
                if self._alike[host] in seen:
                    continue
                seen.add(self._alike[host])
            yield host

    def _fits(self, unit: frozenset[int], host: int) -> bool:
        for bond, load, other in zip(self._bonds, self._load, self._other, strict=True):
            place = bond.places[host]
            own, apart = sum(bond.weights.get(vm, 0) for vm in unit), len(bond.against & unit)
            if place in bond.most and load[place] + own > bond.most[place]:
                return False
            if bond.against and ((own and (apart or other[place])) or (apart and load[place])):
                return False
        return True

    def _count(self, unit: frozenset[int], host: int, sign: int) -> None:
        for bond, load, other in zip(self._bonds, self._load, self._other, strict=True):
            load[bond.places[host]] += sign * sum(bond.weights.get(vm, 0) for vm in unit)
            other[bond.places[host]] += sign * len(bond.against & unit)


def _domains(
    units: Iterable[frozenset[int]], bonds: Sequence[Bond], hosts: int
) -> dict[frozenset[int], frozenset[int]]:
    """For each unit the hosts that the pins of its VMs leave it; the same object where the same pins speak of it."""
    everywhere = frozenset(range(hosts))
    allowed = {bond.key: bond.allowed for bond in bonds if bond.allowed is not None}
    pins_of: dict[int, list[RuleKey]] = defaultdict(list)
    for bond in bonds:
        for vm in bond.weights if bond.key in allowed else ():
            pins_of[vm].append(bond.key)
    by_pins: dict[frozenset[RuleKey], frozenset[int]] = {}
    domains = {}
    for unit in units:
        pins = frozenset(chain.from_iterable(pins_of[vm] for vm in unit))
        if pins not in by_pins:
            by_pins[pins] = everywhere.intersection(*(allowed[key] for key in pins))
        domains[unit] = by_pins[pins]
    return domains


def _units(bonds: Sequence[Bond]) -> list[frozenset[int]]:
    """All VMs of the bonds, those that belong together joined."""
    unit_of = {vm: frozenset({vm}) for bond in bonds for vm in bond.vms}
    for bond in bonds:
        if bond.together and bond.weights:
            joined = frozenset().union(*(unit_of[vm] for vm in bond.weights))
            unit_of |= dict.fromkeys(joined, joined)
    return sorted(set(unit_of.values()), key=min)
