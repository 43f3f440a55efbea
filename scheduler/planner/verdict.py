"""Verdicts: for any VM and host whether it may be there, what refuses, and what would have to change."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ..cluster.model import Snapshot, Vm
from ..cluster.reason import Reason
from ..filters.view import View
from .cost import MigrationCost, Paces, predict
from .objective import PlanningCancelledError
from .placement import CODE_ALREADY_THERE, Placer, choose_destination
from .relaxation import changes, cost
from .settings import PlannerSettings

_MOST_RELAXED: Final = 64
"""In a large cluster changes are looked for on so many hosts, those with the fewest refusals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a VM may be on a host: no reasons means yes."""

    host: str
    allowed: bool
    score: float | None
    reasons: tuple[Reason, ...]
    changes: tuple[Reason, ...] = field(default_factory=tuple)
    """All that would have to change for the host to take it, the cheapest first."""
    forecast: MigrationCost | None = None
    """What migrating it there would cost; None for a host that may not have it, and for a VM that does not run."""


def verdicts(
    snapshot: Snapshot,
    vm: Vm,
    settings: PlannerSettings,
    host: str | None = None,
    cancelled: Callable[[], bool] = bool,
) -> list[Verdict]:
    """Where `vm`, one of the snapshot's, may be, best first; then the other hosts, those that need least change first.

    With `host` only about that one. PlanningCancelledError soon after `cancelled` is true.
    """
    placement = choose_destination(snapshot, vm, settings) if vm.active else Placer(snapshot, settings).choose(vm)
    paces = Paces(snapshot, settings)
    found = [
        Verdict(
            host=one.host,
            allowed=True,
            score=one.score,
            reasons=(),
            forecast=predict(vm, paces.between(vm, vm.host, one.host)) if vm.active and vm.host else None,
        )
        for one in placement.ranking
    ]
    refused = sorted((one for one in placement.refused if host in {None, one.host}), key=lambda one: len(one.reasons))
    view = View(snapshot)
    need = view.need(view.vm_index(vm.uuid))
    others: list[Verdict] = []
    for number, one in enumerate(refused):
        if cancelled():
            raise PlanningCancelledError
        looked_at = number < _MOST_RELAXED and one.reasons[0].code != CODE_ALREADY_THERE
        needed = changes(view, need, view.host_index[one.host]) if looked_at else ()
        others.append(Verdict(host=one.host, allowed=False, score=None, reasons=one.reasons, changes=needed))
    others.sort(key=lambda verdict: (not verdict.changes, cost(verdict.changes), verdict.host))
    return [verdict for verdict in (*found, *others) if host in {None, verdict.host}]
