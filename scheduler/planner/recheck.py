"""Recheck: what still holds of a plan on a newer picture of the cluster than it was made on."""

from dataclasses import replace

from ..cluster.model import HostState, Snapshot
from ..cluster.reason import Reason
from ..filters import registry
from ..filters.view import View
from . import obstacle, repair
from .balance import GOALS
from .load import Load
from .objective import score
from .plan import Plan, Step, Unmoved, apply_plan
from .settings import PlannerSettings

CODE_OUTDATED = "outdated"


def recheck(made: Plan, snapshot: Snapshot, settings: PlannerSettings) -> Plan:
    """`made` with the steps that are still possible on `snapshot`, each after those before, and still worth it.

    When what is left would not lower the score any more, only the repairs of rules are left. A step that is left out
    is told among the unmoved.
    """
    kept, refused = _possible(made.steps, snapshot, settings)
    before, after = _score(snapshot, settings), _score(apply_plan(snapshot, kept), settings)
    if after >= before:
        idle = [step for step in kept if step.reason.code != repair.CODE]
        refused += [_left_out(step, "the cluster has changed, and it would gain nothing any more") for step in idle]
        kept, _ = _possible([step for step in kept if step.reason.code == repair.CODE], snapshot, settings)
        after = _score(apply_plan(snapshot, kept), settings)
    return replace(made, steps=tuple(kept), unmoved=(*made.unmoved, *refused), score_before=before, score_after=after)


def _possible(
    steps: tuple[Step, ...] | list[Step], snapshot: Snapshot, settings: PlannerSettings
) -> tuple[list[Step], list[Unmoved]]:
    load = Load(View(snapshot), settings)
    view = load.view
    places = {vm.uuid: place for place, vm in enumerate(view.vms)}
    kept: list[Step] = []
    refused: list[Unmoved] = []
    for step in steps:
        vm, host = places.get(step.uuid), view.host_index.get(step.destination)
        if vm is None or host is None or view.hosts[int(view.vm_host[vm])].name != step.source:
            refused.append(_left_out(step, "the cluster has changed since it was planned"))
            continue
        blocked = obstacle.to_leaving(load, vm)
        against = (blocked,) if blocked else registry.reasons(view, view.need(vm), host)
        if against or not view.active[vm] or view.hosts[host].state is not HostState.UP:
            refused.append(_left_out(step, "the cluster has changed since it was planned", *against))
            continue
        load.move(vm, host)
        kept.append(step)
    return kept, refused


def _left_out(step: Step, text: str, *against: Reason) -> Unmoved:
    return Unmoved(vm=step.vm, host=step.source, reasons=(Reason(CODE_OUTDATED, text), *against))


def _score(snapshot: Snapshot, settings: PlannerSettings) -> float:
    load = Load(View(snapshot), settings)
    return score(GOALS[settings.objective](load, settings).terms(load))
