"""The inner loop of annealing, on plain arrays: compiled where Numba is installed, slow but the same without it.

A proposal changes where one or two VMs go and is kept when it lowers the score, or by chance when it raises it little.
Chance comes from the seed alone. Only the last placement counts: the order of moves is made afterwards.

Arrays are handed to each function one by one: compiled code counts references whenever it takes one out of a tuple.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

import numpy as np

from ..filters.view import BoolArray, IntArray
from .load import FloatArray

try:
    from numba import njit
except ImportError:  # the extra `fast` is not installed
    njit = None

_F = TypeVar("_F", bound=Callable[..., Any])

COMPILED: Final = njit is not None


def compiled(function: _F) -> _F:
    """The function in machine code, kept on disk from one process to the next; as it is without Numba."""
    return cast("_F", njit(cache=True, fastmath=True, nogil=True, forceinline=True)(function)) if COMPILED else function


RESOURCES: Final = 3
CORES: Final = 3
EXCESS: Final = 4
MEMORY: Final = 5
PRICE: Final = 6
"""Columns: after the resources of the score come what a host still has or a VM takes of cores, the squared excess of
high demand (of a host below zero), memory, and what moving a VM costs in score."""
HOST: Final = 0
HOME: Final = 1
KIND: Final = 2
AWAY: Final = 3
"""Columns of `where`: the VM's host, where it started, its kind, and its place in the list of VMs away; -1: at home."""

_REST: Final = 256
"""Proposals between two steps of cooling."""
_CHANCES: Final = 1 << 24


class Cluster(NamedTuple):
    """What stays the same. Hosts are those that balancing looks at."""

    vms: IntArray
    """Those that may move."""
    takes: FloatArray
    """What each VM takes, shape (vms, 7)."""
    inverse: FloatArray
    """One over capacity, shape (hosts, resources)."""
    weights: FloatArray
    allowed: BoolArray
    """Static filters, shape (kinds, hosts)."""
    members: IntArray
    """The groups of each VM, filled up with -1, shape (vms, most groups of a VM)."""
    limit: IntArray
    """How many of each group may share a host."""


class Placement(NamedTuple):
    """Where VMs are, and what follows from it; the kernel changes it."""

    where: IntArray
    """Shape (vms, 4)."""
    hosts: FloatArray
    """Used parts of the resources, then what is left of the columns above, shape (hosts, 6)."""
    counts: IntArray
    """Members on each host, shape (groups, hosts)."""


@compiled
def _draw(seed: IntArray, below: int) -> Any:
    """A number from 0 to below - 1 (xorshift)."""
    value = seed[0]
    value ^= (value << 13) & 0xFFFFFFFF
    value ^= value >> 17
    value ^= (value << 5) & 0xFFFFFFFF
    seed[0] = value
    return (value * below) >> 32


@compiled
def _proposal(
    where: IntArray, vms: IntArray, away: IntArray, number: int, most: int, size: int, seed: IntArray
) -> tuple[int, int, int, int]:
    """One or two VMs and where they go: on, home for another's sake, in exchange, away or home."""
    choice = _draw(seed, 8)
    if number == 0 or (choice == 7 and number < most):
        return vms[_draw(seed, len(vms))], _draw(seed, size), -1, -1
    one = away[_draw(seed, number)]
    if choice < 3:
        return one, _draw(seed, size), -1, -1
    if choice == 7:
        return one, where[one, HOME], -1, -1
    other = away[_draw(seed, number)] if choice == 6 else vms[_draw(seed, len(vms))]
    if other == one or (choice < 6 and where[other, AWAY] >= 0):
        return -1, -1, -1, -1
    if choice == 6:
        return other, where[one, HOST], one, where[other, HOST]
    return other, where[one, HOST] if choice == 3 else _draw(seed, size), one, where[one, HOME]


@compiled
def _hopeless(vm: int, to: int, other: int, where: IntArray, takes: FloatArray, hosts: FloatArray) -> Any:
    """Whether that cannot be, as can be told before anything is tried: not with all that `other` has either."""
    if where[vm, HOST] == to:
        return True
    memory, cores, excess = hosts[to, MEMORY], hosts[to, CORES], hosts[to, EXCESS]
    if other >= 0 and where[other, HOST] == to:
        memory += takes[other, MEMORY]
        cores += takes[other, CORES]
        excess += takes[other, EXCESS]
    cores, excess = cores - takes[vm, CORES], excess - takes[vm, EXCESS]
    return memory < takes[vm, MEMORY] or (to != where[vm, HOME] and cores < np.sqrt(max(0.0, -excess)))


@compiled
def _put(
    vm: int, to: int, where: IntArray, takes: FloatArray, hosts: FloatArray, inverse: FloatArray, totals: FloatArray
) -> Any:
    """Move a VM; returns what that adds to the price of all moves."""
    source, home = where[vm, HOST], where[vm, HOME]
    for resource in range(RESOURCES):
        amount = takes[vm, resource]
        before, gone = hosts[source, resource], hosts[to, resource]
        less, more = amount * inverse[source, resource], amount * inverse[to, resource]
        hosts[source, resource] = before - less
        hosts[to, resource] = gone + more
        totals[0, resource] += more - less
        totals[1, resource] += less * (less - 2 * before) + more * (more + 2 * gone)
    for left in range(CORES, PRICE):
        hosts[source, left] += takes[vm, left]
        hosts[to, left] -= takes[vm, left]
    where[vm, HOST] = to
    return takes[vm, PRICE] * ((to != home) - (source != home))


@compiled
def _count(vm: int, source: int, to: int, members: IntArray, counts: IntArray) -> None:
    """Follow a move in the counts of the VM's groups."""
    for place in range(members.shape[1]):
        if members[vm, place] >= 0:
            counts[members[vm, place], source] -= 1
            counts[members[vm, place], to] += 1


@compiled
def _put_both(
    one: int,
    one_to: int,
    two: int,
    two_to: int,
    where: IntArray,
    takes: FloatArray,
    hosts: FloatArray,
    inverse: FloatArray,
    totals: FloatArray,
    members: IntArray,
    counts: IntArray,
) -> Any:
    """Move one VM, and the other if there is one; returns what that adds to the price of all moves."""
    _count(one, where[one, HOST], one_to, members, counts)
    change = _put(one, one_to, where, takes, hosts, inverse, totals)
    if two >= 0:
        _count(two, where[two, HOST], two_to, members, counts)
        change += _put(two, two_to, where, takes, hosts, inverse, totals)
    return change


@compiled
def _holds(
    vm: int,
    where: IntArray,
    hosts: FloatArray,
    allowed: BoolArray,
    members: IntArray,
    counts: IntArray,
    limit: IntArray,
) -> bool:
    """Whether the VM's host can take it by every rule, now that it is there."""
    host = where[vm, HOST]
    if hosts[host, MEMORY] < 0:
        return False
    if host != where[vm, HOME]:
        excess = np.sqrt(max(0.0, -hosts[host, EXCESS]))
        if hosts[host, CORES] < excess or not allowed[where[vm, KIND], host]:
            return False
    for place in range(members.shape[1]):
        group = members[vm, place]
        if group >= 0 and counts[group, host] > limit[group]:
            return False
    return True


@compiled
def _score(totals: FloatArray, weights: FloatArray, hosts: int) -> float:
    total = 0.0
    for resource in range(RESOURCES):
        mean = totals[0, resource] / hosts
        total += weights[resource] * np.sqrt(max(0.0, totals[1, resource] / hosts - mean * mean))
    return total


@compiled
def _remember(vm: int, where: IntArray, away: IntArray, number: int) -> int:
    """Keep the list of VMs away from home; returns its length."""
    place, is_away = where[vm, AWAY], where[vm, HOST] != where[vm, HOME]
    if is_away and place < 0:
        away[number], where[vm, AWAY] = vm, number
        return number + 1
    if not is_away and place >= 0:
        last = away[number - 1]
        away[place], where[last, AWAY] = last, place
        where[vm, AWAY] = -1
        return number - 1
    return number


@compiled
def anneal(cluster: Cluster, start: Placement, most: int, proposals: int, heat: FloatArray, seed: IntArray) -> IntArray:
    """The best placement found with at most `most` VMs away from home; `heat` is the first and last temperature."""
    vms, takes, inverse, weights, allowed, members, limit = cluster
    where, hosts, counts = start
    size, number, paid = hosts.shape[0], 0, 0.0
    totals, away = np.zeros((2, RESOURCES)), np.zeros(len(where), dtype=np.int64)
    for host in range(size):
        totals[0] += hosts[host, :RESOURCES]
        totals[1] += hosts[host, :RESOURCES] ** 2
    for vm in vms:
        number = _remember(vm, where, away, number)
        paid += takes[vm, PRICE] * (where[vm, HOST] != where[vm, HOME])
    current = _score(totals, weights, size) + paid
    best, best_host = current, where[:, HOST].copy()
    temperature, cooling = heat[0], (heat[1] / heat[0]) ** (_REST / max(_REST, proposals))
    for step in range(proposals):
        if step % _REST == _REST - 1:
            temperature *= cooling
        one, one_to, two, two_to = _proposal(where, vms, away, number, most, size, seed)
        if one < 0 or _hopeless(one, one_to, two, where, takes, hosts):
            continue
        one_from, two_from = where[one, HOST], where[two, HOST]
        change = _put_both(one, one_to, two, two_to, where, takes, hosts, inverse, totals, members, counts)
        score = _score(totals, weights, size) + paid + change
        good = score <= current or (_draw(seed, _CHANCES) + 1) / _CHANCES < np.exp((current - score) / temperature)
        good = good and _holds(one, where, hosts, allowed, members, counts, limit)
        if not good or (two >= 0 and not _holds(two, where, hosts, allowed, members, counts, limit)):
            _put_both(one, one_from, two, two_from, where, takes, hosts, inverse, totals, members, counts)
            continue
        current, paid = score, paid + change
        number = _remember(one, where, away, number)
        if two >= 0:
            number = _remember(two, where, away, number)
        if current < best - 1e-12:
            best = current
            best_host[:] = where[:, HOST]
    return best_host


def load() -> None:
    """Compile, or take from disk what was compiled before; a search does so by itself, within its time."""
    where, hosts = np.zeros((1, 4), dtype=np.int64), np.ones((1, PRICE))
    integers, numbers = np.zeros((1, 1), dtype=np.int64), np.ones((1, PRICE + 1))
    cluster = Cluster(
        vms=np.zeros(1, dtype=np.int64),
        takes=numbers,
        inverse=np.ones((1, RESOURCES)),
        weights=np.ones(RESOURCES),
        allowed=np.ones((1, 1), dtype=np.bool_),
        members=integers,
        limit=np.ones(1, dtype=np.int64),
    )
    anneal(cluster, Placement(where=where, hosts=hosts, counts=integers), 1, 1, np.ones(2), np.ones(1, dtype=np.int64))
