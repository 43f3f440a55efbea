"""The objective `contention`: act only where VMs wait for CPU or memory is short, and leave the rest alone.

A contended host gives VMs to hosts that stay below the limit even at the VMs' high demand; no contended host receives.
Of all moves that repay their cost, the one that relieves most per second of migration comes first.
"""

from typing import Final

import numpy as np

from ..cluster.reason import Reason
from ..filters import registry
from ..filters.view import BoolArray, IntArray
from .cost import predict
from .explanation import CODE_CPU_SHORT, named, refusals
from .load import FloatArray, Load
from .objective import Budget, Move, Stuck, Term, descend
from .settings import PlannerSettings

CODE_NOT_NOW = "not_now"
CODE_NOT_HELD = "not_held_yet"
CODE_LIMIT = "limit_reached"
CODE_NO_GAIN = "no_gain"

RELIEVED_RATIO: Final = 0.5
"""A host is relieved of waiting to this part of `cpu_wait_ratio_limit`, so that noise does not make it wait again."""
MEMORY_WEIGHT: Final = 10.0
"""A GiB that a host does not have is as bad as this many cores that VMs wait for: it swaps, or kills a guest."""


class Contention:
    """Relief where it is needed."""

    def __init__(self, load: Load, settings: PlannerSettings) -> None:
        self._settings = settings
        costs = [predict(vm, settings) for vm in load.view.vms]
        self._seconds: FloatArray = load.importance * [cost.seconds for cost in costs]
        self._core_seconds: FloatArray = load.importance * [cost.core_seconds for cost in costs]
        self._waiting_at_first = load.waiting()
        self._given_up: BoolArray = np.zeros(len(load.view.hosts), dtype=bool)

    def terms(self, load: Load) -> tuple[Term, ...]:
        """Demand above what hosts can give, and memory that they do not have."""
        return (
            Term(name="cpu_waiting", weight=1.0, unit="cores", value=float(load.waiting() @ load.host_importance())),
            Term(name="memory_short", weight=MEMORY_WEIGHT, unit="GiB", value=float(load.memory_short_gib().sum())),
        )

    def search(self, load: Load, movable: BoolArray, budget: Budget) -> list[Move]:
        """Relieve each contended host that can be relieved by the minimum gain, and touch no other."""
        relieve = load.to_relieve.copy()
        while True:
            trial = load.copy()
            rows = np.zeros_like(movable)
            rows[load.rows_of(relieve)] = True
            moves = descend(self._best_move, trial, movable & rows, budget)
            too_little = self._too_little(load, trial, moves)
            if not too_little.any():
                break
            # What such a host gave took room that others may use: search once more without it.
            relieve &= ~too_little
        self._given_up = load.to_relieve & ~relieve
        for move in moves:
            load.move(move.vm, move.destination)
        return moves

    def stuck(self, load: Load, blocked: list[Reason | None]) -> Stuck:
        """The VMs of hosts that are still contended, each with what keeps it there."""
        contended = load.contended & (load.waiting() + load.memory_short_gib() > 0)
        return [(int(vm), self._why_not(load, int(vm), blocked[vm])) for vm in load.rows_of(contended)]

    def _why_not(self, load: Load, vm: int, blocked: Reason | None) -> tuple[Reason, ...]:
        host = int(load.view.vm_host[vm])
        if blocked is not None:
            return (blocked,)
        if not load.to_relieve[host]:
            since, hold = load.view.hosts[host].contended_seconds or 0.0, self._settings.hold_seconds
            return (Reason(CODE_NOT_HELD, f"short for {since:.0f} s, acted on after {hold:.0f} s"),)
        rows = np.array([vm])
        if self.destinations(load, rows).any():
            if self._given_up[host]:
                return (Reason(CODE_NO_GAIN, "all that can leave its host relieves less than the minimum gain"),)
            if self._net(rows, self._gain(load, rows))[0] <= 0:
                return (Reason(CODE_NO_GAIN, "moving it relieves less than it costs"),)
            return (Reason(CODE_LIMIT, "comes after the limit of this plan"),)
        refused = refusals(load.view, vm)
        not_now = load.view.vms[vm].not_to
        refused += tuple(Reason(CODE_NOT_NOW, f"{name}: {why}") for name, why in sorted(not_now.items()))
        open_to_it = registry.elsewhere(load.view, load.view.need(vm)) & ~load.closed(rows)[0]
        if open_to_it.any():
            names = [load.view.hosts[index].name for index in np.flatnonzero(open_to_it)]
            text = f"{named(names)}: has no {load.high[vm]:.1f} cores to spare"
            refused = (Reason(CODE_CPU_SHORT, text, needed_cores=float(load.high[vm]), hosts=names), *refused)
        return refused

    def _best_move(self, load: Load, movable: BoolArray) -> Move | None:
        vms = np.flatnonzero(movable)
        vms = vms[self._still_short(load)[load.view.vm_host[vms]]]
        gain = self._gain(load, vms)
        net = self._net(vms, gain)
        vms, gain, net = vms[net > 0], gain[net > 0], net[net > 0]
        if not len(vms):
            return None
        fits = self.destinations(load, vms)
        value = np.where(fits.any(axis=1), net / self._seconds[vms], -np.inf)
        row = int(np.argmax(value))
        if value[row] == -np.inf:
            return None
        vm = int(vms[row])
        filled = np.where(fits[row], (load.host_demand + load.demand[vm]) / load.cpus, np.inf)
        return self._move(load, vm, int(np.argmin(filled)), float(gain[row]))

    def _still_short(self, load: Load) -> BoolArray:
        """Hosts from which a further VM should go, shape (hosts,).

        What is left of measured waiting once it is well below the limit is no reason: no VM is short then, and the
        figure is the rest of two measurements. VMs are taken to wait less in proportion to what all of them wait.
        """
        settings, waiting = self._settings, load.waiting()
        left = np.divide(waiting, self._waiting_at_first, out=np.zeros_like(waiting), where=self._waiting_at_first > 0)
        waits = load.worst_wait_ratio > settings.cpu_wait_ratio_limit
        still_waits = load.worst_wait_ratio * left > RELIEVED_RATIO * settings.cpu_wait_ratio_limit
        over = load.host_demand > settings.cpu_usage_ratio_limit * load.cpus
        short: BoolArray = np.where(waits, still_waits | over, waiting > 0) | (load.memory_short_gib() > 0)
        return short

    def _move(self, load: Load, vm: int, host: int, gain: float) -> Move:
        source = int(load.view.vm_host[vm])
        waiting, short = float(load.waiting()[source]), float(load.memory_short_gib()[source])
        if waiting:
            reason = Reason(
                "cpu_contention", f"{load.view.hosts[source].name} is {waiting:.1f} cores short", short_cores=waiting
            )
        else:
            reason = Reason(
                "memory_contention", f"{load.view.hosts[source].name} is {short:.1f} GiB short", short_gib=short
            )
        return Move(vm=vm, source=source, destination=host, gain=gain, reason=reason)

    def destinations(self, load: Load, vms: IntArray) -> BoolArray:
        """Hosts that may take each of `vms` and do not become contended by it, shape (vms, hosts)."""
        fits = registry.static_rows(load.view, vms) & registry.dynamic_rows(load.view, vms)
        fits &= load.high_with(vms) <= load.room
        fits &= ~load.closed(vms)
        fits[np.arange(len(vms)), load.view.vm_host[vms]] = False
        return fits

    def _gain(self, load: Load, vms: IntArray) -> FloatArray:
        """By how much the score falls when each VM leaves; where it goes nothing rises."""
        sources = load.view.vm_host[vms]
        waiting, short = load.waiting()[sources], load.memory_short_gib()[sources]
        weight, later = load.host_importance()[sources], load.importance_without(vms)
        relief = later * np.minimum(waiting, load.demand[vms]) + (weight - later) * waiting
        memory: FloatArray = MEMORY_WEIGHT * np.minimum(short, load.view.memory_mib[vms] / 1024)
        return relief + memory

    def _net(self, vms: IntArray, gain: FloatArray) -> FloatArray:
        """What is left of the gain over the horizon, in core-seconds, when the migration is paid for."""
        cost = (1 + self._settings.minimum_gain_ratio) * self._core_seconds[vms]
        net: FloatArray = gain * self._settings.horizon_seconds - cost
        return net

    def _too_little(self, before: Load, after: Load, moves: list[Move]) -> BoolArray:
        """Hosts that gave VMs and gained less than the minimum."""
        worse = before.waiting() + MEMORY_WEIGHT * before.memory_short_gib()
        better = after.waiting() + MEMORY_WEIGHT * after.memory_short_gib()
        gave = np.zeros(len(worse), dtype=bool)
        gave[[move.source for move in moves]] = True
        small: BoolArray = gave & (worse - better < self._settings.minimum_gain_ratio * worse)
        return small
