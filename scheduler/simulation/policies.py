"""What others steer by, each an approximation of its documented rules: enough to compare, not the product itself.

All of them see true load, never moved to a host that a hard rule forbids, and migrate under the same physics as ours.
"""

from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from .seen import FloatArray, Move, Seen


class Policy(Protocol):
    """Decides each `period_s` seconds on the mean load since it was last asked."""

    @property
    def source(self) -> str:
        """Of which it is an approximation, by its documentation."""

    @property
    def period_s(self) -> float:
        """How often it is asked."""

    def moves(self, seen: Seen) -> list[Move]:
        """What to move now. `Seen.move` keeps the load up to date within one decision."""


class Nothing:
    """No balancing at all."""

    source: Final = "a cluster that nobody balances"
    period_s: Final = 3600.0

    def moves(self, seen: Seen) -> list[Move]:  # noqa: ARG002 - that is the policy
        """None."""
        return []


@dataclass
class Threshold:
    """A host above a threshold for two minutes gives one VM a minute to a host well below it."""

    source: Final = (
        "oVirt, policy evenly_distributed: HighUtilization 80, CpuOverCommitDurationMinutes 2, one move a minute"
    )
    period_s: Final = 60.0
    high: Final = 0.8
    lasting_s: Final = 120.0
    since_s: dict[int, float] = field(default_factory=dict)

    def moves(self, seen: Seen) -> list[Move]:
        """One, of the VM that uses most where that leaves no destination above the threshold."""
        over = set(map(int, np.flatnonzero(seen.usage >= self.high)))
        self.since_s = {host: self.since_s.get(host, seen.now_s - self.period_s) for host in over}
        ripe = [host for host, since_s in self.since_s.items() if seen.now_s - since_s >= self.lasting_s]
        below = seen.usage < min(0.8 * self.high, self.high - 0.1)
        for source in sorted(ripe, key=lambda host: -seen.usage[host]):
            for vm in seen.busiest_on(source):
                if (move := seen.to_least_used(vm, below, self.high)) is not None:
                    return [move]
        return []


@dataclass
class Contention:
    """A host above 85 % for a whole window sheds what moves at the least cost until it is below."""

    source: Final = (
        "Nutanix Acropolis Dynamic Scheduling: each 15 min, hosts above 85 %, 30 min of rest after a rebalance"
    )
    period_s: Final = 60.0
    high: Final = 0.85
    window_s: Final = 900.0
    since_s: dict[int, float] = field(default_factory=dict)
    next_s: float = 0.0

    def moves(self, seen: Seen) -> list[Move]:
        """Those of the smallest VMs that bring each such host below 85 %."""
        over = set(map(int, np.flatnonzero(seen.usage > self.high)))
        self.since_s = {host: self.since_s.get(host, seen.now_s - self.period_s) for host in over}
        if seen.now_s < self.next_s:
            return []
        self.next_s = seen.now_s + self.window_s
        found: list[Move] = []
        for source, since_s in self.since_s.items():
            if seen.now_s - since_s < self.window_s:
                continue
            for vm in sorted(seen.movable_on(source), key=lambda vm: seen.memory_mib[vm] / (seen.demand[vm] + 1e-6)):
                if seen.usage[source] <= self.high:
                    break
                if (move := seen.to_least_used(vm, np.ones(len(seen.cpus), dtype=bool), self.high)) is not None:
                    found.append(move)
        if found:
            self.next_s = seen.now_s + 2 * self.window_s
        return found


@dataclass
class Imbalance:
    """The best single move, when the spread of load is above 0.3 for three rounds and falls by a tenth."""

    source: Final = (
        "Proxmox VE 9, HA cluster resource scheduling, dynamic: imbalance 0.3, 3 rounds of 10 s, margin 10 %"
    )
    period_s: Final = 10.0
    limit: Final = 0.3
    rounds: Final = 3
    margin: Final = 0.1
    above: int = 0

    def moves(self, seen: Seen) -> list[Move]:
        """One, while none is under way."""
        before = _variation(seen.usage)
        self.above = self.above + 1 if before > self.limit else 0
        if self.above < self.rounds or seen.moving:
            return []
        best = seen.best_move(_variation)
        if best is None or best[1] > (1 - self.margin) * before:
            return []
        self.above = 0
        return [best[0]]


@dataclass
class Gap:
    """Moves from the most to the least used host until they differ by at most ten points."""

    source: Final = (
        "ProxLB 2: method memory or cpu, balanciness 10; asked each hour, where its example config says 12 h"
    )
    period_s: Final = 3600.0
    points: Final = 0.1

    def moves(self, seen: Seen) -> list[Move]:
        """As many as that takes, each of the VM that comes nearest to half the gap."""
        found: list[Move] = []
        moved: set[int] = set()
        while (gap := float(seen.usage.max() - seen.usage.min())) > self.points:
            source, target = int(seen.usage.argmax()), int(seen.usage.argmin())
            half = gap / 2 * seen.cpus[source]
            vms = [vm for vm in seen.movable_on(source) if vm not in moved and 0 < seen.demand[vm] < 2 * half]
            vms = [vm for vm in vms if seen.allowed(vm)[target]]
            if not vms:
                break
            vm = min(vms, key=lambda vm: abs(seen.demand[vm] - half))
            moved.add(vm)
            found.append(seen.move(vm, target))
        return found


@dataclass
class Deviation:
    """Moves that lower the standard deviation of CPU use, when it is above its threshold."""

    source: Final = "OpenStack Watcher, workload_stabilization: standard deviation of CPU use above 0.2, each 15 min"
    period_s: Final = 900.0
    limit: Final = 0.2

    def moves(self, seen: Seen) -> list[Move]:
        """The best one after the other, until the deviation is below the threshold or nothing lowers it."""
        found: list[Move] = []
        while (before := _deviation(seen.usage)) > self.limit:
            best = seen.best_move(_deviation)
            if best is None or best[1] >= before or best[0].vm in {move.vm for move in found}:
                break
            found.append(seen.move(best[0].vm, best[0].destination))
        return found


@dataclass
class Hbal:
    """What the real `hbal` would move now, at most 2 % of the VMs and at least one."""

    source: Final = "Ganeti htools, the program hbal itself, with CPU load (-U), each 15 min"
    period_s: Final = 900.0

    def moves(self, seen: Seen) -> list[Move]:
        """Its first steps, where hard rules, which it is not told, allow them."""
        from . import hbal

        found = []
        for name, destination in hbal.steps(seen.snapshot(), moves=max(1, len(seen.demand) // 50)):
            vm, host = seen.row(name), seen.host(destination)
            if seen.allowed(vm)[host]:
                found.append(seen.move(vm, host))
        return found


def _variation(usage: NDArray[np.float64]) -> FloatArray:
    """Standard deviation over mean along the last axis."""
    found: FloatArray = usage.std(axis=-1) / np.maximum(usage.mean(axis=-1), 1e-9)
    return found


def _deviation(usage: NDArray[np.float64]) -> FloatArray:
    found: FloatArray = usage.std(axis=-1)
    return found


POLICIES: Final[dict[str, type[Policy]]] = {
    "none": Nothing,
    "threshold": Threshold,
    "nutanix-like": Contention,
    "proxmox-like": Imbalance,
    "proxlb-like": Gap,
    "watcher-like": Deviation,
    "hbal": Hbal,
}
"""All but our own, by the name that `--policy` takes."""
