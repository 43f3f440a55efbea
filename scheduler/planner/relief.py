"""Relief: where VMs should go so that some hosts lack less, made better change by change.

What is made smaller is the bill: shortage over the horizon, and what the migrations cost, both in core-seconds. A
change is a single move, one that is left out or given up for another, or an exchange that makes room (see `exchange`).
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from ..filters import memory, registry
from ..filters.view import BoolArray, IntArray
from . import exchange, shortage
from .change import LEAST_GAIN, NONE, Change
from .load import FloatArray, Load
from .objective import Budget

RELIEVED_RATIO: Final = 0.5
"""A host is relieved of waiting to this part of `cpu_wait_ratio_limit`, so that noise does not make it wait again."""
_GIVEN_UP: Final = 8
"""Moves of least worth that are tried without, when there may be no more."""


class Costs:
    """What a migration of each VM costs, weighed by its priority, shape (vms,)."""

    def __init__(self, load: Load) -> None:
        self.seconds: FloatArray = load.importance * load.leaving_seconds
        core_seconds = load.importance * np.array([cost.core_seconds for cost in load.leaving], dtype=float)
        self.core_seconds: FloatArray = (1 + load.settings.minimum_gain_ratio) * core_seconds
        """With the minimum gain on top: a move repays itself and that much more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a search may touch."""

    movable: BoolArray
    """VMs, shape (vms,)."""
    relieve: BoolArray
    """Hosts to take load off, shape (hosts,)."""
    budget: Budget
    costs: Costs


class Relief:
    """Where each VM goes. `load` follows; the one it began with is left as it is."""

    def __init__(self, start: Load, task: Task) -> None:
        self.load = start.copy()
        self.home: IntArray = start.view.vm_host.copy()
        self.costs = task.costs
        self.movable = task.movable
        self.limit: FloatArray = np.maximum(start.room, start.host_high)
        """High demand up to which a host may be filled by what came from it, or in exchange for more."""
        self._open: BoolArray = start.judged & (task.relieve | ~start.contended) & (start.room > 0)
        self._task = task
        self._horizon = start.settings.horizon_seconds
        self._first_waiting = start.waiting()
        self._least_free_mib: IntArray = np.minimum(0, start.view.free_memory_mib)

    def twin(self) -> Self:
        """An independent one to try changes on."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.load = self.load.copy()
        return twin

    @property
    def away(self) -> BoolArray:
        """VMs that move, shape (vms,)."""
        moved: BoolArray = self.load.view.vm_host != self.home
        return moved

    def bill(self) -> float:
        """Core-seconds lost: to shortage over the horizon, and to migrations."""
        lacking = float(shortage.of_hosts(self.load).sum())
        return self._horizon * lacking + float(self.costs.core_seconds[self.away].sum())

    def descend(self, *, per_second: bool) -> Self:
        """Take the best single move, by second of migration or by itself, until none is left."""
        while (change := self._single(per_second=per_second)).value > LEAST_GAIN:
            self.make(change)
        return self

    def build(self, *, triples: bool) -> Self:
        """Take the change that is worth most for each move it needs, until none is left."""
        while not self._task.budget.expired():
            changes = [self._single(per_second=False), exchange.pair(self)]
            if triples:
                changes.append(exchange.triple(self))
            change = max(changes, key=lambda change: change.value / max(0.5, self._more(change)))
            if change.value <= LEAST_GAIN:
                break
            self.make(change)
        return self

    def improve(self) -> Self:
        """Take the best change of any kind until none is left."""
        while not self._task.budget.expired():
            simple = self._single(per_second=False), exchange.pair(self), self._undo()
            change = max(simple, key=lambda change: change.value)
            if change.value <= LEAST_GAIN:
                change = max(exchange.triple(self), self._instead(), key=lambda change: change.value)
            if change.value <= LEAST_GAIN:
                break
            self.make(change)
        return self

    def without(self, vms: tuple[int, ...]) -> Self:
        """One without the moves of `vms` and of those that took their place, built up again in another way."""
        trial = self.twin()
        trial.movable = self.movable.copy()
        trial.movable[list(vms)] = False
        pending = list(vms)
        while pending:
            vm = pending.pop()
            home = int(self.home[vm])
            if trial.load.view.vm_host[vm] != home:
                trial.load.move(vm, home)
                if not trial.takes_back(vm, home):
                    pending += map(int, np.flatnonzero(trial.away & (trial.load.view.vm_host == home)))
        trial.build(triples=True)
        trial.movable = self.movable
        return trial.improve()

    def takes_back(self, vm: int, home: int) -> bool:
        """Whether `home` can hold `vm`, now that it is there again."""
        load, rows = self.load, np.array([vm])
        enough = load.view.free_memory_mib[home] >= self._least_free_mib[home]
        rules = all(rule.rows(load.view, rows)[0, home] for rule in registry.DYNAMIC if rule is not memory)
        return bool(enough and rules and load.host_high[home] <= self.limit[home] + LEAST_GAIN)

    def short(self) -> BoolArray:
        """Hosts from which a further VM should go, shape (hosts,).

        What is left of measured waiting once it is well below the limit is no reason: no VM is short then, and the
        figure is the rest of two measurements. VMs are taken to wait less in proportion to what all of them wait.
        """
        load, settings = self.load, self.load.settings
        waiting, first = load.waiting(), self._first_waiting
        left = np.divide(waiting, first, out=np.zeros_like(waiting), where=first > 0)
        waits = load.worst_wait_ratio > settings.cpu_wait_ratio_limit
        still_waits = load.worst_wait_ratio * left > RELIEVED_RATIO * settings.cpu_wait_ratio_limit
        over = load.host_demand > settings.cpu_usage_ratio_limit * load.cpus
        short: BoolArray = np.where(waits, still_waits | over, shortage.of_hosts(load) > 0)
        return self._task.relieve & (short | (load.memory_short_gib() > 0))

    def make(self, change: Change) -> None:
        """Send VMs where `change` wants them."""
        for vm, host in change.places:
            self.load.move(vm, host)

    def affords(self, vms: IntArray, beside: int = 0) -> BoolArray:
        """Whether the budget has a move for each of `vms`, and for `beside` others; those away have theirs."""
        away = self.away
        moves, mib = int(away.sum()), self.load.view.memory_mib
        affordable = self._task.budget.affords(mib[vms], float(mib[away].sum()) / 1024)
        return away[vms] | (self._task.budget.allows(moves + beside) & affordable)

    def covered(self) -> bool:
        """Whether all that is away together is within the budget."""
        away = self.away
        return self._task.budget.covers(int(away.sum()), float(self.load.view.memory_mib[away].sum()))

    def leavers(self) -> tuple[IntArray, FloatArray]:
        """VMs of hosts that are short, and by how much each lowers the bill when it leaves, cost included."""
        vms = np.flatnonzero(self.movable & self.short()[self.load.view.vm_host] & ~self.away)
        value = self.worth(shortage.relief(self.load, vms)) - self.costs.core_seconds[vms]
        return vms[value > LEAST_GAIN], value[value > LEAST_GAIN]

    def neighbours(self) -> IntArray:
        """VMs that could make room where they are."""
        return np.flatnonzero(self.movable & self._open[self.load.view.vm_host])

    def worth(self, cores: FloatArray) -> FloatArray:
        """Core-seconds that so much less shortage is worth."""
        total: FloatArray = self._horizon * cores
        return total

    def emptiest(self, vm: int, fits: BoolArray) -> int:
        """The host that is least filled with that VM on it."""
        filled = (self.load.host_demand + self.load.demand[vm]) / self.load.cpus
        return int(np.argmin(np.where(fits, filled, np.inf)))

    def returns(self, vms: IntArray) -> tuple[BoolArray, FloatArray]:
        """Whether each of `vms` is away and can go home again, and the core-seconds of shortage that it costs."""
        load, homes = self.load, self.home[vms]
        now = load.on(homes)
        again = now.plus(load.of(vms))
        can = self.away[vms] & registry.dynamic_rows(load.view, vms)[np.arange(len(vms)), homes]
        can &= again.high <= self.limit[homes] + LEAST_GAIN
        return can, self.worth(shortage.at(load, homes, again) - shortage.at(load, homes, now))

    def _more(self, change: Change) -> int:
        """How many moves more there are with `change`."""
        where, home = self.load.view.vm_host, self.home
        return sum(int(host != home[vm]) - int(where[vm] != home[vm]) for vm, host in change.places)

    def _single(self, *, per_second: bool) -> Change:
        vms, value = self.leavers()
        left = self.affords(vms)
        vms, value = vms[left], value[left]
        if not len(vms):
            return NONE
        fits = exchange.destinations(self.load, vms)
        rank = value / self.costs.seconds[vms] if per_second else value
        row = int(np.argmax(np.where(fits.any(axis=1), rank, -np.inf)))
        if not fits[row].any():
            return NONE
        vm = int(vms[row])
        return Change(((vm, self.emptiest(vm, fits[row])),), float(value[row]))

    def _undo(self) -> Change:
        """The best move to leave out, now that others are made."""
        vms = np.flatnonzero(self.away)
        can, loss = self.returns(vms)
        value = np.where(can, self.costs.core_seconds[vms] - loss, -np.inf)
        if not can.any() or value.max() <= LEAST_GAIN:
            return NONE
        vm = int(vms[np.argmax(value)])
        return Change(((vm, int(self.home[vm])),), float(value.max()))

    def _instead(self) -> Change:
        """One move given up for a better one elsewhere, when there may be no more."""
        vms = np.flatnonzero(self.away)
        if self._task.budget.allows(len(vms)):
            return NONE
        can, loss = self.returns(vms)
        worth = np.where(can, loss - self.costs.core_seconds[vms], np.inf)
        best = NONE
        for row in np.argsort(worth, kind="stable")[: min(_GIVEN_UP, int(can.sum()))]:
            vm = int(vms[row])
            home = (vm, int(self.home[vm]))
            found = self._single_without(home)
            if found.value - worth[row] > best.value:
                best = Change((home, *found.places), float(found.value - worth[row]))
        return best

    def _single_without(self, home: tuple[int, int]) -> Change:
        """The best single move of another VM when that one is at home."""
        trial = self.twin()
        trial.load.move(*home)
        trial.movable = self.movable.copy()
        trial.movable[home[0]] = False
        return trial._single(per_second=False)  # noqa: SLF001
