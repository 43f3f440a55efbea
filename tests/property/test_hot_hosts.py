"""Hosts that are short: no plan makes another one, and whoever stays on one is told why."""

import numpy as np
import pytest
from hypothesis import assume, given

from scheduler.cluster.model import Snapshot
from scheduler.filters.view import View
from scheduler.planner import shortage
from scheduler.planner.load import Load
from scheduler.planner.plan import apply_plan
from scheduler.planner.settings import Objective, PlannerSettings
from tests.property import judge
from tests.property.clusters import MOODS, snapshots
from tests.property.test_plans import for_balance, laws, planned

LAWFUL = tuple(mood for mood in MOODS if mood.lawful)
LIMIT = PlannerSettings().cpu_usage_ratio_limit


def load_of(snapshot: Snapshot) -> Load:
    return Load(View(snapshot), PlannerSettings())


@pytest.mark.parametrize("objective", list(Objective))
@laws
@given(snapshots(LAWFUL))
def test_no_host_becomes_hot(objective: Objective, snapshot: Snapshot) -> None:
    """Not by its mean demand, not by its high demand, and not short of memory; only rules ask for moves that may."""
    made = planned(snapshot, objective)
    assume(all(step.reason.code not in judge.DEMANDED for step in made.steps))
    before, after = load_of(snapshot), load_of(apply_plan(snapshot, made))
    names = [host.name for host in snapshot.hosts]
    assert [one for one, hot in zip(names, after.contended & ~before.contended, strict=True) if hot] == []
    hotter = after.host_high > np.maximum(LIMIT * after.cpus, before.host_high) + 1e-6
    assert [one for one, is_hotter in zip(names, hotter, strict=True) if is_hotter] == []


@laws
@given(snapshots())
def test_whoever_stays_on_a_hot_host_is_told_why(snapshot: Snapshot) -> None:
    made = planned(snapshot, Objective.CONTENTION)
    load = load_of(apply_plan(snapshot, made))
    hot = (load.contended | load.expected & load.to_relieve) & (shortage.of_hosts(load) > 0)
    stay = {load.view.vms[vm].name for vm in load.rows_of(hot)} - {step.vm for step in for_balance(made)}
    told = {one.vm for one in made.unmoved if one.reasons and all(reason.text for reason in one.reasons)}
    assert stay <= told
