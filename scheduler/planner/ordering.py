"""Ordering: moves into batches that can really be run, with room on both ends at every moment.

A VM on its way takes room on both hosts until its batch is done. A move overtakes an earlier one only where it cannot
get in its way: into another host, and not into one that the earlier move still has to leave. Moves that were found one
after the other, each possible after those before, therefore always come out complete. Moves that were not (a full
swap) may need a VM parked on a third host for a while.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from ..cluster.reason import Reason
from ..filters import affinity, registry
from ..filters.view import View
from .cost import predict
from .objective import Move
from .plan import Step
from .settings import PlannerSettings

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


def order(view: View, moves: list[Move], settings: PlannerSettings) -> Order:
    """Batches for `moves`, starting from `view`, which is left as it is."""
    view, pending, result = view.copy(), list(moves), Order()
    parked: set[int] = set()
    while pending:
        batch = _next_batch(view, pending, settings) or _alone(view, pending)
        if not batch:
            batch = _parking(view, pending, parked)
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
            view.move(move.vm, move.destination)
        result.batches.append(batch)
    return result


def steps(view: View, ordered: Order, settings: PlannerSettings) -> tuple[Step, ...]:
    """The order as the steps of a plan."""
    return tuple(
        Step(
            vm=view.vms[move.vm].name,
            uuid=view.vms[move.vm].uuid,
            source=view.hosts[move.source].name,
            destination=view.hosts[move.destination].name,
            batch=number,
            predicted_seconds=predict(view.vms[move.vm], settings).seconds,
            gain=move.gain,
            reason=move.reason,
        )
        for number, batch in enumerate(ordered.batches, start=1)
        for move in batch
    )


def _next_batch(view: View, pending: list[Move], settings: PlannerSettings) -> list[Move]:
    """Every pending move that can start now, in order."""
    hosts = len(view.hosts)
    inbound, outbound = np.zeros(hosts, dtype=int), np.zeros(hosts, dtype=int)
    in_the_way = np.zeros(hosts, dtype=bool)
    batch: list[Move] = []
    for move in pending:
        source, destination = move.source, move.destination
        if (
            not in_the_way[destination]
            and inbound[destination] < settings.max_inbound
            and outbound[source] < settings.max_outbound
            and _possible(view, move.vm, destination)
        ):
            view.hold(move.vm, destination)
            inbound[destination] += 1
            outbound[source] += 1
            batch.append(move)
        else:
            in_the_way[destination] = True
        in_the_way[source] = True
    for move in batch:
        view.release(move.vm, move.destination)
    return batch


def _alone(view: View, pending: list[Move]) -> list[Move]:
    """Any one move that can start now, out of turn."""
    return next(([move] for move in pending if _possible(view, move.vm, move.destination)), [])


def _parking(view: View, pending: list[Move], parked: set[int]) -> list[Move]:
    """One move of a VM that is stuck to a host that it does not want but that can take it meanwhile."""
    for move in sorted(pending, key=lambda move: int(view.memory_mib[move.vm])):
        if move.vm in parked:
            continue
        for host in np.argsort(-view.free_memory_mib, kind="stable"):
            if int(host) not in (move.source, move.destination) and _possible(view, move.vm, int(host)):
                reason = Reason(CODE_PARKING, "makes room for others, and moves on later")
                return [replace(move, destination=int(host), gain=0.0, reason=reason)]
    return []


def _possible(view: View, vm: int, destination: int) -> bool:
    # Affinity is left out: the members of a group that moves follow one another.
    need = view.need(vm)
    rules = [rule for rule in registry.DYNAMIC if rule is not affinity]
    static = bool(registry.static(view, need)[destination])
    return static and all(bool(rule.mask(view, need)[destination]) for rule in rules)
