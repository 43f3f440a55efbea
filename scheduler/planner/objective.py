"""What all objectives share: a table of terms, a score, and the search for moves that lower it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, Self

import numpy as np

from ..cluster.reason import Reason
from ..filters.view import BoolArray, IntArray
from .load import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One part of a score."""

    name: str
    weight: float
    unit: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A VM to a host, by their indices in the view."""

    vm: int
    source: int
    destination: int
    gain: float
    reason: Reason


class PlanningCancelledError(Exception):
    """Planning was called off; what it has found so far is worth nothing."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a search may spend."""

    moves: int | None
    """At most so many; None: no limit."""
    expired: Callable[[], bool]
    """Whether the time is over. Raises PlanningCancelledError like `check`."""
    gib: float | None = None
    """Memory of all VMs moved together; None: no limit."""
    check: Callable[[], object] = bool
    """Raises PlanningCancelledError when planning was called off; to be called between all that takes long."""

    def allows(self, moves: int) -> bool:
        """Whether the search may go on after that many moves."""
        return (self.moves is None or moves < self.moves) and not self.expired()

    def after(self, moves: int, gib: float) -> Self:
        """What is left of it after that."""
        return replace(
            self,
            moves=None if self.moves is None else self.moves - moves,
            gib=None if self.gib is None else self.gib - gib,
        )

    def covers(self, moves: int, mib: float) -> bool:
        """Whether so many moves of so much memory together are within it."""
        return (self.moves is None or moves <= self.moves) and (self.gib is None or mib <= 1024 * self.gib)

    def affords(self, memory_mib: IntArray, carried_gib: float) -> BoolArray:
        """VMs that may still be moved after `carried_gib` have been, by their size, shape (vms,)."""
        left_mib = np.inf if self.gib is None else 1024 * (self.gib - carried_gib)
        affordable: BoolArray = memory_mib <= left_mib
        return affordable


AFTER_LIMIT: Final = Reason("limit_reached", "comes after the limit of this plan")

Stuck = list[tuple[int, tuple[Reason, ...]]]
"""VMs that should leave their host and cannot, by index, with the reasons."""


class Goal(Protocol):
    """An objective. Its search changes the load it is given and returns the moves it made there, in order."""

    def terms(self, load: Load, /) -> tuple[Term, ...]:
        """The score's parts."""

    def search(self, load: Load, movable: BoolArray, budget: Budget, /) -> list[Move]:
        """Moves of `movable` VMs, each at most once, each possible after those before."""

    def stuck(self, load: Load, blocked: list[Reason | None], /) -> Stuck:
        """After the search: what should have moved and did not. `blocked` says of each VM what keeps it at all."""


def score(terms: tuple[Term, ...]) -> float:
    """The sum of weight times value; lower is better."""
    return sum(term.weight * term.value for term in terms)


def merged(moves: Sequence[Move]) -> list[Move]:
    """One move a VM: one that would go on goes straight to its last host, one that would come back stays."""
    by_vm: dict[int, Move] = {}
    for move in moves:
        first = by_vm.get(move.vm)
        by_vm[move.vm] = (
            move if first is None else replace(first, destination=move.destination, gain=first.gain + move.gain)
        )
    return [move for move in by_vm.values() if move.source != move.destination]


def descend(
    best_move: Callable[[Load, BoolArray], Move | None], load: Load, movable: BoolArray, budget: Budget
) -> list[Move]:
    """Take the best move, again and again, until none is worth it."""
    movable = movable.copy()
    moves: list[Move] = []
    carried_gib = 0.0
    while budget.allows(len(moves)):
        move = best_move(load, movable & budget.affords(load.view.memory_mib, carried_gib))
        if move is None:
            break
        load.move(move.vm, move.destination)
        movable[move.vm] = False
        carried_gib += load.view.memory_mib[move.vm] / 1024
        moves.append(move)
    return moves
