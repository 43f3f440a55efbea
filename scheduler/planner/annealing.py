"""Annealing: improves the targets of a descent by exchanging moves for others, with no more moves than are allowed.

Steepest descent takes what is best at each step; what is best in the end often needs two VMs to change places, or a
few large moves instead of many. The kernel tries millions of such changes in a second.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..cluster.rules import Strength
from ..filters import registry
from ..filters.view import BoolArray, IntArray, View
from .evenness import Evenness
from .load import FloatArray, Load

try:
    from . import kernel
except ImportError:  # a checkout in which it was not built
    COMPILED = False
else:
    COMPILED = True

_LEAST_PROPOSALS: Final = 500_000
_MOST_PROPOSALS: Final = (1_000_000, 3_000_000)
"""A tenth and a third of a second; beyond the first only with so many moves that each needs its share of them."""
_PROPOSALS_PER_MOVE: Final = (200_000, 10_000)
"""Of the first where a tenth of the VMs or more moves: among fewer, moves seldom stand in each other's way."""
_FEW: Final = (0.02, 2.5)
"""Of moves that are so small a part of the VMs each is worth much: so many times the proposals are made for them."""
_PROPOSALS_PER_VM: Final = 1_500
"""Of one start. Of a small cluster there are as many starts as there are proposals for: one alone is often stuck."""
_SEED: Final = 88172645463325252
_HEAT: Final = (1.0, 0.001)
"""First and last temperature, in parts of the descent's mean gain a move."""


def annealed(
    start: Load, found: Load, movable: BoolArray, ceiling: FloatArray, price: FloatArray, *, most: int, effort: int
) -> IntArray | None:
    """The host of every VM, at most `most` elsewhere than in `start`; None where the kernel is not compiled.

    `found` is what a descent made of `start`. The result keeps every rule in itself; an order is still to be found.
    """
    gain = Evenness(start).score() - Evenness(found).score()
    vms = np.flatnonzero(movable & ~_tied(start))
    elsewhere = found.view.vm_host != start.view.vm_host
    most -= int(elsewhere.sum()) - int(elsewhere[vms].sum())
    if not COMPILED or most <= 0 or gain <= 0 or not len(vms):
        return None
    hosts = np.flatnonzero(start.judged)
    cluster, heat = _cluster(start, hosts, price), (gain / most * _HEAT[0], gain / most * _HEAT[1])
    proposals = _proposals(most, len(vms))
    starts = max(1, proposals // (_PROPOSALS_PER_VM * len(vms)))

    def searched(seed: int) -> IntArray:
        where = _where(start, found, hosts)
        state, length = _hosts(found, ceiling, hosts), effort * proposals // starts
        kernel.anneal(vms, *cluster, where, *state, most=most, proposals=length, heat=heat, seed=seed)
        targets = found.view.vm_host.copy()
        targets[vms] = hosts[where[vms, 0]]
        return targets

    seeds = (_SEED * (2 * number + 1) % 2**64 for number in range(starts))
    return min(map(searched, seeds), key=lambda targets: _cost(start, targets, price))


def _proposals(most: int, vms: int) -> int:
    """How long to search; a matter of the size alone, so that the same snapshot has the same plan on any machine."""
    usual, many = _PROPOSALS_PER_MOVE
    part, times = _FEW
    more = times if most <= part * vms else 1.0
    wanted = more * usual * most * min(1.0, 10 * most / vms)
    return int(np.clip(wanted, _LEAST_PROPOSALS, more * np.clip(many * most, *_MOST_PROPOSALS)))


def _cost(start: Load, targets: IntArray, price: FloatArray) -> float:
    """What the kernel lowers: the score with the VMs at their targets, and the price of all moves."""
    even, homes = Evenness(start), start.view.vm_host
    moved = np.flatnonzero(targets != homes)
    for vm in moved:
        even.move(int(vm), int(homes[vm]), int(targets[vm]))
    return even.score() + float(price[moved].sum())


def _tied(load: Load) -> BoolArray:
    """VMs that the kernel leaves where descent put them: with an affinity, a rule it cannot count, or not_to."""
    every = np.arange(len(load.view.vms))
    view = load.view
    uncounted = {
        group for group, rule in enumerate(view.anti_affinity) if view.domains[group] is not None or rule.against
    }
    apart = (not uncounted.isdisjoint(groups.anti_affinity) for groups in view.groups)
    affine = (bool(groups.affinity) for groups in load.view.groups)
    tied: BoolArray = np.fromiter(affine, dtype=bool) | np.fromiter(apart, dtype=bool)
    return tied | load.soft.members | load.closed(every).any(axis=1)


def _cluster(
    start: Load, hosts: IntArray, price: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.uint8], IntArray, IntArray]:
    """What the kernel wants to know of VMs, hosts and rules: takes, inverse, weights, allowed, members, limit."""
    view, even = start.view, Evenness(start)
    _, allowed = registry.static_table(view)
    takes = np.column_stack([even.amount.T, start.demand, start.excess_squared, view.memory_mib, price])
    return (
        np.ascontiguousarray(takes, dtype=float),
        np.ascontiguousarray(even.inverse[:, hosts].T),
        even.weights,
        np.ascontiguousarray(allowed[:, hosts], dtype=np.uint8),
        _members(view),
        np.array([rule.max_per_host for rule in view.anti_affinity], dtype=np.int64),
    )


def _where(start: Load, found: Load, hosts: IntArray) -> IntArray:
    """The host, the home and the kind of each VM, shape (vms, 3)."""
    index = np.full(len(start.judged), -1, dtype=np.int64)
    index[hosts] = np.arange(len(hosts))
    kinds, _ = registry.static_table(start.view)
    return np.column_stack([index[found.view.vm_host], index[start.view.vm_host], kinds])


def _hosts(found: Load, ceiling: FloatArray, hosts: IntArray) -> tuple[FloatArray, IntArray]:
    """What hosts have used and left, shape (hosts, 6), and the members of groups on them, shape (groups, hosts)."""
    left = np.stack([ceiling - found.host_demand, -found.host_excess_squared, found.view.free_memory_mib])
    columns = np.concatenate([Evenness(found).used, left])[:, hosts].T
    return np.ascontiguousarray(columns, dtype=float), np.ascontiguousarray(found.view.anti_affinity_counts[:, hosts])


def _members(view: View) -> IntArray:
    """The must-anti-affinity groups of each VM, filled up with -1."""
    must = [group for group, rule in enumerate(view.anti_affinity) if rule.strength is Strength.MUST]
    of_vms = [[group for group in groups.anti_affinity if group in must] for groups in view.groups]
    members = np.full((len(of_vms), max(map(len, of_vms), default=0)), -1, dtype=np.int64)
    for vm in np.flatnonzero(view.in_groups):
        members[vm, : len(of_vms[vm])] = of_vms[vm]
    return members
