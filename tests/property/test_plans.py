"""The laws of planning, on generated clusters, for every objective and for drains.

The examples are the same in every run; `VIRT_SCHEDULER_EXAMPLES=1000 pytest tests/property/test_plans.py` looks at as
many others.
"""

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given
from hypothesis import settings as hypothesis_settings

from scheduler.cluster.codec import dump_snapshot, load_snapshot
from scheduler.cluster.model import HostState, Snapshot, VmState
from scheduler.cluster.rules import PRIORITY_WEIGHTS, Affinity, Pin, Rules
from scheduler.filters.view import View
from scheduler.planner import mending, soft
from scheduler.planner.balance import GOALS, plan
from scheduler.planner.cost import Pace, predict
from scheduler.planner.evenness import Evenness
from scheduler.planner.load import Load
from scheduler.planner.objective import Budget, score
from scheduler.planner.plan import Plan, Step, apply_plan
from scheduler.planner.settings import Objective, PlannerSettings
from scheduler.planner.soft import SoftRules
from tests.property import judge
from tests.property.clusters import MOODS, cluster, plain, snapshots

EXAMPLES = os.environ.get("VIRT_SCHEDULER_EXAMPLES")
laws = hypothesis_settings(
    max_examples=int(EXAMPLES or "40"),
    derandomize=EXAMPLES is None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
objectives = pytest.mark.parametrize("objective", list(Objective))
LAWFUL = tuple(mood for mood in MOODS if mood.lawful)


def planned(snapshot: Snapshot, objective: Objective, drain: tuple[str, ...] = (), seed: int = 0) -> Plan:
    return plan(snapshot, PlannerSettings(objective=objective), clock=lambda: 0.0, drain=drain, seed=seed)


def in_maintenance(snapshot: Snapshot, names: tuple[str, ...]) -> Snapshot:
    hosts = (
        replace(host, state=HostState.MAINTENANCE) if host.name in names and host.state is HostState.UP else host
        for host in snapshot.hosts
    )
    return replace(snapshot, hosts=tuple(hosts))


def for_balance(made: Plan) -> list[Step]:
    return [step for step in made.steps if step.reason.code not in judge.DEMANDED]


@objectives
@laws
@given(snapshots())
def test_no_rule_and_no_limit_is_broken_at_any_moment(objective: Objective, snapshot: Snapshot) -> None:
    assert judge.flaws(snapshot, planned(snapshot, objective)) == []


@laws
@given(snapshots())
def test_a_drain_keeps_all_rules_and_accounts_for_every_vm(snapshot: Snapshot) -> None:
    names = tuple(host.name for host in snapshot.hosts[: 1 + len(snapshot.hosts) // 8])
    made = planned(snapshot, Objective.CONTENTION, drain=names)
    assert judge.flaws(in_maintenance(snapshot, names), made) == []
    moved = {step.uuid for step in made.steps}
    stay = [vm for vm in snapshot.vms if vm.active and vm.host in names and vm.uuid not in moved]
    assert {vm.name for vm in stay if vm.destination is None} == {one.vm for one in made.unmoved}
    assert all(one.reasons for one in made.unmoved)
    assert all(snapshot.vm(step.uuid).host in names for step in made.steps)


@objectives
@laws
@given(snapshots(LAWFUL))
def test_a_plan_lowers_the_score_by_the_minimum_gain_and_repays_itself(
    objective: Objective, snapshot: Snapshot
) -> None:
    made, settings = planned(snapshot, objective), PlannerSettings()
    if not made.steps:
        assert made.score_after == made.score_before
        return
    gained = made.score_before - made.score_after
    assert gained > 0
    ruled = any(term.name == "soft_rules" for term in made.terms)
    if objective is Objective.PACK:
        assert gained >= (soft.WEIGHTS[objective] if ruled else 1) - 1e-9
    if objective is Objective.SPREAD and all(step.reason.code != mending.CODE for step in made.steps):
        uneven = sum(term.weight * term.before for term in made.terms if term.name != "soft_rules")
        assert gained >= settings.minimum_gain_ratio * uneven - 1e-9
    if objective is Objective.CONTENTION:
        vms = [snapshot.vm(step.uuid) for step in made.steps]
        pace = Pace(settings.bandwidth_mib_per_s)
        cost = sum(PRIORITY_WEIGHTS[snapshot.priority(vm)] * predict(vm, pace).core_seconds for vm in vms)
        assert gained * settings.horizon_seconds >= (1 + settings.minimum_gain_ratio) * cost


@objectives
@laws
@given(snapshots())
# A scattered group, a swap that needs a VM parked, one that goes on to a third host, a host as full as it may be.
@example(cluster(5, 17, MOODS[5], 903910))
@example(cluster(4, 16, MOODS[3], 637557))
@example(cluster(5, 24, MOODS[0], 752284))
@example(cluster(20, 62, MOODS[5], 529754))
def test_a_second_plan_is_empty(objective: Objective, snapshot: Snapshot) -> None:
    made = planned(snapshot, objective)
    again = planned(apply_plan(snapshot, made), objective)
    assert [step.as_dict() for step in again.steps] == []


@laws
@given(snapshots())
def test_a_second_drain_is_empty(snapshot: Snapshot) -> None:
    drain = (snapshot.hosts[0].name,)
    made = planned(snapshot, Objective.CONTENTION, drain=drain)
    again = planned(apply_plan(snapshot, made), Objective.CONTENTION, drain=drain)
    assert [step.as_dict() for step in again.steps] == []


@objectives
@laws
@given(snapshots())
def test_the_same_snapshot_gives_the_same_plan_in_any_order(objective: Objective, snapshot: Snapshot) -> None:
    made = planned(snapshot, objective).as_dict()
    assert made == planned(load_snapshot(dump_snapshot(snapshot), "written"), objective).as_dict()
    turned = replace(snapshot, hosts=snapshot.hosts[::-1], vms=snapshot.vms[::-1])
    assert made == planned(turned, objective).as_dict()


@objectives
@laws
@given(snapshots())
def test_renaming_changes_nothing_but_names(objective: Objective, snapshot: Snapshot) -> None:
    renamed = _renamed(snapshot)
    first, second = planned(snapshot, objective), planned(renamed, objective)
    assert first.score_after == pytest.approx(second.score_after)
    assert sorted((s.batch, s.predicted_seconds) for s in first.steps) == sorted(
        (s.batch, s.predicted_seconds) for s in second.steps
    )


def _renamed(snapshot: Snapshot) -> Snapshot:
    """Every host and VM under a name that sorts the other way round; rules name the VMs that they meant by a tag."""
    new = {host.name: f"n{999 - index}" for index, host in enumerate(snapshot.hosts)}
    tags: dict[str, dict[str, str]] = {vm.uuid: {} for vm in snapshot.vms}
    made: list[str] = []

    def tagged(selectors: tuple[str, ...]) -> tuple[str, ...]:
        tag = f"meant{len(made)}"
        made.append(tag)
        for vm in snapshot.vms:
            if judge.member(selectors, vm):
                tags[vm.uuid][tag] = ""
        return (f"tag:{tag}",) if selectors else ()

    hosts = tuple(replace(host, name=new[host.name]) for host in snapshot.hosts)
    old = snapshot.rules
    rules = Rules(
        pins=tuple(
            Pin(*tagged((pin.vm,)), tuple(new[name] for name in new if pin.allows(name)), pin.strength)
            for pin in old.pins
        ),
        anti_affinity=tuple(
            replace(rule, vms=tagged(rule.vms), against=tagged(rule.against)) for rule in old.anti_affinity
        ),
        affinity=tuple(Affinity(tagged(rule.vms), rule.strength) for rule in old.affinity),
    )
    vms = tuple(
        replace(
            vm,
            name=f"x{999 - index}",
            priority=snapshot.priority(vm),
            host=new[vm.host or ""],
            destination=new.get(vm.destination or ""),
            cpu_missing_on={new[name]: missing for name, missing in vm.cpu_missing_on.items()},
            not_to={new[name]: why for name, why in vm.not_to.items()},
            defined_on=tuple(new[name] for name in vm.defined_on),
            labels=tags[vm.uuid],
        )
        for index, vm in enumerate(snapshot.vms)
    )
    return replace(snapshot, hosts=hosts, vms=vms, rules=rules)


@objectives
@laws
@given(snapshots())
def test_vms_are_conserved(objective: Objective, snapshot: Snapshot) -> None:
    made = planned(snapshot, objective)
    after = apply_plan(snapshot, made)
    assert [replace(vm, host=None, cpu_wait_ratio=None, defined_on=()) for vm in after.vms] == [
        replace(vm, host=None, cpu_wait_ratio=None, defined_on=()) for vm in snapshot.vms
    ]
    went = {step.uuid: step.destination for step in made.steps}
    assert [vm.host for vm in after.vms] == [went.get(vm.uuid, vm.host) for vm in snapshot.vms]


@objectives
@laws
@given(snapshots())
def test_what_must_stay_stays(objective: Objective, snapshot: Snapshot) -> None:
    made = planned(snapshot, objective)
    for step in for_balance(made):
        vm = snapshot.vm(step.uuid)
        assert vm.state is VmState.RUNNING
        assert vm.hold is None
        assert step.destination not in vm.not_to
        assert vm.cpu_demand_cores is not None
    pinned = replace(snapshot, rules=Rules(pins=tuple(Pin(vm.uuid, (vm.host or "",)) for vm in snapshot.vms)))
    assert planned(pinned, objective).steps == ()


@objectives
@laws
@given(snapshots())
def test_a_vm_just_moved_is_not_moved_back_by_noise(objective: Objective, snapshot: Snapshot) -> None:
    """Nothing has changed but how busy every VM is, by 5 %."""
    made = planned(snapshot, objective)
    came_from = {step.uuid: step.source for step in made.steps}
    after = apply_plan(snapshot, made)
    noisy = (
        replace(vm, cpu_demand_cores=min(float(vm.vcpus), vm.cpu_demand_cores * (0.95 + number % 3 * 0.05)))
        if vm.cpu_demand_cores is not None
        else vm
        for number, vm in enumerate(after.vms)
    )
    again = planned(replace(after, vms=tuple(noisy)), objective)
    assert [step.vm for step in for_balance(again) if came_from.get(step.uuid) == step.destination] == []


@objectives
@laws
@given(snapshots())
def test_budgets_are_kept(objective: Objective, snapshot: Snapshot) -> None:
    settings = PlannerSettings(objective=objective, max_moves=3, max_gib=9.0)
    made = plan(snapshot, settings, clock=lambda: 0.0)
    moved = {step.uuid for step in made.steps}
    assert len(moved) <= 3
    assert sum(snapshot.vm(uuid).memory_mib for uuid in moved) <= 9 * 1024
    assert judge.flaws(snapshot, made) == []
    assert plan(snapshot, replace(settings, max_moves=0), clock=lambda: 0.0).steps == ()


@objectives
@laws
@given(snapshots())
def test_the_score_kept_up_with_moves_is_the_score_computed_anew(objective: Objective, snapshot: Snapshot) -> None:
    snapshot = plain(snapshot)
    settings = PlannerSettings(objective=objective)
    load = Load(View(snapshot), settings)
    goal = GOALS[objective](load, settings)
    goal.search(load, load.known.copy(), Budget(None, lambda: False))
    hosts = [load.view.hosts[host].name for host in load.view.vm_host]
    moved = replace(snapshot, vms=tuple(replace(vm, host=name) for vm, name in zip(snapshot.vms, hosts, strict=True)))
    view = View(moved)
    for name in ("free_memory_mib", "anti_affinity_counts", "against_counts", "affinity_counts", "vm_host", "active"):
        assert np.array_equal(getattr(view, name), getattr(load.view, name))
    if objective is Objective.SPREAD:
        after = apply_plan(snapshot, planned(snapshot, objective))
        anew = Load(View(after), settings)
        assert score(mending.terms(anew, goal)) == pytest.approx(planned(snapshot, objective).score_after, abs=1e-9)


@laws
@given(snapshots())
def test_the_scores_of_all_moves_are_those_after_making_them(snapshot: Snapshot) -> None:
    snapshot = plain(snapshot)
    settings = PlannerSettings(objective=Objective.SPREAD)
    load = Load(View(snapshot), settings)
    goal = GOALS[Objective.SPREAD](load, settings)
    running = np.flatnonzero(load.view.active)[:6]
    assume(len(running))
    hosts = np.arange(len(load.view.hosts))
    sources = load.view.vm_host[running]
    even = Evenness(load)
    predicted = even.after(running, sources, hosts)
    for row, vm in enumerate(running):
        for host in set(range(min(6, len(load.view.hosts)))) - {int(load.view.vm_host[vm])}:
            trial = load.copy()
            trial.move(int(vm), host)
            assert score(goal.terms(trial)) == pytest.approx(predicted[row, host], abs=1e-7)
            each = even.after_each(running[row : row + 1], sources[row : row + 1], hosts[host : host + 1])
            assert each[0] == pytest.approx(predicted[row, host], abs=1e-12)
            followed = even.copy()
            followed.move(int(vm), int(sources[row]), host)
            assert followed.score() == pytest.approx(predicted[row, host], abs=1e-7)


@laws
@given(snapshots())
def test_what_a_move_changes_about_soft_rules_is_what_counting_anew_shows(snapshot: Snapshot) -> None:
    snapshot = plain(snapshot)
    assume(snapshot.vms)
    view = View(snapshot)
    rules = SoftRules(view)
    assert rules.total(view) == judge.misplaced(snapshot)
    running = np.flatnonzero(view.active)
    change = rules.change(view, running)
    for row, vm in enumerate(running):
        for host in range(len(view.hosts)):
            moved = view.copy()
            moved.move(int(vm), host)
            assert rules.total(moved) - rules.total(view) == change[row, host]


@laws
@given(snapshots())
def test_symmetric_load_moves_nothing(snapshot: Snapshot) -> None:
    """Every host the same, each with the same VMs, however high their load."""
    first = snapshot.hosts[0]
    hosts = tuple(replace(first, name=f"twin{n}") for n in range(3))
    vms = tuple(
        replace(
            vm,
            name=f"{vm.name}-{n}",
            uuid=f"{vm.uuid}-{n}",
            host=f"twin{n}",
            cpu_missing_on={},
            destination=None,
            defined_on=(),
            not_to={},
        )
        for n in range(3)
        for vm in snapshot.vms[:4]
    )
    even = replace(snapshot, hosts=hosts, vms=vms, rules=Rules())
    for objective in (Objective.CONTENTION, Objective.SPREAD):
        assert planned(even, objective).steps == ()
