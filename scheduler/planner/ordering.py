"""Ordering: moves into batches that can really be run, with room on both ends at every moment.

A VM on its way takes memory on both hosts until its batch is done, and CPU where it goes: no step fills a host above
its memory or its CPUs. What migrates already counts against the limits of the first batch. A move overtakes an earlier
one only where it cannot get in its way: into another host, and not into one that the earlier move still has to leave.
Moves that were found one after the other, each possible after those before, therefore always come out complete. Moves
that were not (a full swap) may need a VM parked on a third host for a while.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from ..cluster.reason import Reason
from ..filters import affinity, registry
from ..filters.view import IntArray, View
from .load import ROUNDING_CORES, Load
from .objective import Move
from .plan import Step

CODE_PARKING = "parking"
CODE_NO_ORDER = "no_order"


@dataclass(slots=True)
class Order:
    """Batches to be run one after the other, and the moves that no order makes possible."""

    batches: list[list[Move]] = field(default_factory=list)
    dropped: list[tuple[Move, Reason]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every move is in a batch, and none was added to make that possible."""
        vms = [move.vm for batch in self.batches for move in batch]
        return not self.dropped and len(vms) == len(set(vms))

    def then(self, later: Self) -> Self:
        """The batches of both, one after the other; some VMs may move twice."""
        return type(self)(self.batches + later.batches, later.dropped)


@dataclass(slots=True)
class Slots:
    """Migrations that hosts have under way at the same time, shape (hosts,) each."""

    inbound: IntArray
    outbound: IntArray

    @classmethod
    def none(cls, view: View) -> Self:
        """Every host is free."""
        return cls(np.zeros(len(view.hosts), dtype=np.int64), np.zeros(len(view.hosts), dtype=np.int64))

    @classmethod
    def under_way(cls, view: View) -> Self:
        """What migrates in the snapshot."""
        slots = cls.none(view)
        for index, vm in enumerate(view.vms):
            if vm.active and vm.destination is not None and vm.destination != vm.host:
                slots.inbound[view.host_index[vm.destination]] += 1
                slots.outbound[view.vm_host[index]] += 1
        return slots

    @property
    def any(self) -> bool:
        """Whether any is under way."""
        return bool(self.inbound.any())


def order(load: Load, moves: list[Move], checkpoint: Callable[[], object] = bool) -> Order:
    """Batches for `moves`, starting from `load`, which is left as it is.

    `checkpoint` is called before each batch; what it raises ends the work.
    """
    load, pending, result = load.copy(), list(moves), Order()
    busy: Slots | None = Slots.under_way(load.view)
    parked: set[int] = set()
    while pending:
        checkpoint()
        batch = _next_batch(load, pending, busy) or _next_batch(load, pending) or _alone(load, pending)
        busy = None
        if not batch:
            batch = _parking(load, pending, parked)
            if not batch:
                text = "needs room that no order of moves frees"
                result.dropped += [(move, Reason(CODE_NO_ORDER, text)) for move in pending]
                break
            parked.add(batch[0].vm)
            position = next(place for place, move in enumerate(pending) if move.vm == batch[0].vm)
            pending[position] = replace(pending[position], source=batch[0].destination)
        else:
            started = {move.vm for move in batch}
            pending = [move for move in pending if move.vm not in started]
        for move in batch:
            load.move(move.vm, move.destination)
        result.batches.append(batch)
    return result


def steps(load: Load, ordered: Order) -> tuple[Step, ...]:
    """The order as the steps of a plan. A batch begins when the longest step of the one before is predicted to end."""
    made: list[Step] = []
    view = load.view
    begins = 0.0
    for number, batch in enumerate(ordered.batches, start=1):
        costs = [load.cost_between(move.vm, move.source, move.destination) for move in batch]
        made += [
            Step(
                vm=view.vms[move.vm].name,
                uuid=view.vms[move.vm].uuid,
                source=view.hosts[move.source].name,
                destination=view.hosts[move.destination].name,
                batch=number,
                start_seconds=begins,
                predicted_seconds=cost.seconds,
                predicted_downtime_ms=cost.downtime_ms,
                predicted_transfer_mib=cost.transferred_mib,
                memory_mib=view.vms[move.vm].memory_mib,
                gain=move.gain,
                reason=move.reason,
            )
            for move, cost in zip(batch, costs, strict=True)
        ]
        begins += max((cost.seconds for cost in costs), default=0.0)
    return tuple(made)


def _next_batch(load: Load, pending: list[Move], busy: Slots | None = None) -> list[Move]:
    """Every pending move that can start now, in order, beside what keeps hosts `busy`."""
    view, settings = load.view, load.settings
    slots = busy or Slots.none(view)
    in_the_way = np.zeros(len(view.hosts), dtype=bool)
    arriving_cores = np.zeros(len(view.hosts))
    batch: list[Move] = []
    for move in pending:
        source, destination = move.source, move.destination
        if (
            not in_the_way[destination]
            and slots.inbound[destination] < settings.max_inbound
            and slots.outbound[source] < settings.max_outbound
            and _possible(load, move.vm, destination, arriving_cores[destination])
        ):
            view.hold(move.vm, destination)
            arriving_cores[destination] += load.demand[move.vm]
            slots.inbound[destination] += 1
            slots.outbound[source] += 1
            batch.append(move)
        else:
            in_the_way[destination] = True
        in_the_way[source] = True
    for move in batch:
        view.release(move.vm, move.destination)
    return batch


def _alone(load: Load, pending: list[Move]) -> list[Move]:
    """Any one move that can start now, out of turn."""
    return next(([move] for move in pending if _possible(load, move.vm, move.destination)), [])


def _parking(load: Load, pending: list[Move], parked: set[int]) -> list[Move]:
    """One move of a VM that is stuck to a host that it does not want but that can take it meanwhile."""
    view = load.view
    for move in sorted(pending, key=lambda move: int(view.memory_mib[move.vm])):
        if move.vm in parked:
            continue
        for host in map(int, np.argsort(-view.free_memory_mib, kind="stable")):
            if host not in (move.source, move.destination) and _possible(load, move.vm, host):
                reason = Reason(CODE_PARKING, "makes room for others, and moves on later")
                return [replace(move, destination=host, gain=0.0, reason=reason)]
    return []


def _possible(load: Load, vm: int, destination: int, arriving_cores: float = 0.0) -> bool:
    if load.host_demand[destination] + arriving_cores + load.demand[vm] > load.cpus[destination] + ROUNDING_CORES:
        return False
    # Affinity is left out: the members of a group that moves follow one another.
    need = load.view.need(vm)
    rules = [rule for rule in registry.DYNAMIC if rule is not affinity]
    static = bool(registry.static(load.view, need)[destination])
    return static and all(bool(rule.mask(load.view, need)[destination]) for rule in rules)
