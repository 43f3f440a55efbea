"""The laws of planning, on generated clusters."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings

from scheduler.cluster.codec import dump_snapshot, load_snapshot
from scheduler.cluster.model import HostState, Snapshot
from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Rules
from scheduler.filters import registry
from scheduler.filters.view import View
from scheduler.planner.balance import GOALS, plan
from scheduler.planner.evenness import Evenness
from scheduler.planner.load import Load
from scheduler.planner.objective import score
from scheduler.planner.plan import Plan, apply_plan
from scheduler.planner.settings import Objective, PlannerSettings
from tests.property.clusters import batches, broken_rules, held_mib, plain, snapshots, under_way

laws = hypothesis_settings(max_examples=60, deadline=None)
objectives = pytest.mark.parametrize("objective", list(Objective))


def planned(snapshot: Snapshot, objective: Objective, drain: tuple[str, ...] = (), seed: int = 0) -> Plan:
    return plan(snapshot, PlannerSettings(objective=objective), clock=lambda: 0.0, drain=drain, seed=seed)


def repairs(made: Plan) -> int:
    return sum(step.reason.code == "repair" for step in made.steps)


def check_every_step(snapshot: Snapshot, made: Plan, settings: PlannerSettings, drain: tuple[str, ...] = ()) -> None:
    """No step fills a host above its memory, breaks a must-rule, or goes where a filter refuses."""
    before = broken_rules(snapshot)
    state = snapshot
    for batch in batches(made):
        view = View(state)
        held = held_mib(state, batch)
        for step in batch:
            destination = state.host(step.destination)
            assert state.vm(step.uuid).host == step.source != step.destination
            assert step.destination not in drain
            assert held[step.destination] <= destination.memory_mib - destination.reserved_memory_mib
            need = view.need(view.vm_index(step.uuid))
            assert registry.static(view, need)[view.host_index[step.destination]]
        for ends, most in (("destination", settings.max_inbound), ("source", settings.max_outbound)):
            names = [getattr(step, ends) for step in batch]
            assert all(names.count(name) <= most for name in names)
        meanwhile = broken_rules(under_way(state, batch))
        state = apply_plan(state, batch)
        for rule, number in (broken_rules(state) | meanwhile).items():
            # The members of a group that leaves together follow one another.
            assert rule[0] == "affinity" or number <= before[rule]
    after = broken_rules(state)
    assert all(after[rule] <= before[rule] for rule in after)


@objectives
@laws
@given(snapshots())
def test_no_hard_rule_is_broken_at_any_step(objective: Objective, snapshot: Snapshot) -> None:
    check_every_step(snapshot, planned(snapshot, objective), PlannerSettings())


@laws
@given(snapshots())
def test_a_drain_keeps_all_rules_and_accounts_for_every_vm(snapshot: Snapshot) -> None:
    name = snapshot.hosts[0].name
    made = planned(snapshot, Objective.CONTENTION, drain=(name,))
    check_every_step(snapshot, made, PlannerSettings(), drain=(name,))
    moved = {step.uuid for step in made.steps}
    stay = [vm for vm in snapshot.vms if vm.active and vm.host == name and vm.uuid not in moved]
    assert {vm.name for vm in stay if vm.destination is None} == {one.vm for one in made.unmoved}
    assert all(one.reasons for one in made.unmoved)


@objectives
@laws
@given(snapshots())
def test_a_plan_is_never_worse_and_repays_itself(objective: Objective, snapshot: Snapshot) -> None:
    made = planned(snapshot, objective)
    if made.steps and not repairs(made):
        assert made.score_after < made.score_before
    if not made.steps:
        assert made.score_after == made.score_before
    if objective is not Objective.CONTENTION and made.steps and not repairs(made):
        assert made.score_before - made.score_after >= min(1.0, 0.1 * made.score_before) - 1e-9


@objectives
@laws
@given(snapshots())
def test_a_second_plan_is_empty(objective: Objective, snapshot: Snapshot) -> None:
    made = planned(snapshot, objective)
    again = planned(apply_plan(snapshot, made), objective)
    assert [step.as_dict() for step in again.steps] == []


@objectives
@laws
@given(snapshots())
def test_the_same_snapshot_gives_the_same_plan(objective: Objective, snapshot: Snapshot) -> None:
    reread = load_snapshot(dump_snapshot(snapshot), "written")
    assert planned(snapshot, objective).as_dict() == planned(reread, objective).as_dict()


@objectives
@laws
@given(snapshots())
def test_reordering_changes_nothing(objective: Objective, snapshot: Snapshot) -> None:
    turned = replace(snapshot, hosts=snapshot.hosts[::-1], vms=snapshot.vms[::-1])
    assert planned(snapshot, objective).as_dict() == planned(turned, objective).as_dict()


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
    """Every host and VM under a name that sorts the other way round; rules name the VMs that they meant."""
    new = {host.name: f"n{99 - index}" for index, host in enumerate(snapshot.hosts)}
    names = {vm.uuid: f"x{99 - index}" for index, vm in enumerate(snapshot.vms)}
    view = View(snapshot)

    def members(kind: str, group: int, but: str = "") -> tuple[str, ...]:
        return tuple(
            names[vm.uuid]
            for vm, of in zip(view.vms, view.groups, strict=True)
            if group in getattr(of, kind) and not (but and group in getattr(of, but))
        )

    hosts = tuple(replace(host, name=new[host.name]) for host in snapshot.hosts)
    vms = tuple(
        replace(
            vm,
            name=names[vm.uuid],
            priority=snapshot.priority(vm),
            host=new[vm.host or ""],
            destination=new.get(vm.destination or ""),
            cpu_missing_on={new[name]: missing for name, missing in vm.cpu_missing_on.items()},
            not_to={new[name]: why for name, why in vm.not_to.items()},
        )
        for vm in snapshot.vms
    )
    old = snapshot.rules
    pins = tuple(
        Pin(names[vm.uuid], tuple(new[host] for host in pin.hosts), pin.strength)
        for pin in old.pins
        for vm, of in zip(view.vms, view.groups, strict=True)
        if pin in of.pins or pin in of.soft_pins
    )
    anti = (
        AntiAffinity(
            members("anti_affinity", n, "against"),
            r.strength,
            r.max_per_host,
            r.spread_over,
            members("against", n) or (("nobody",) if r.against else ()),
        )
        for n, r in enumerate(old.anti_affinity)
    )
    together = (Affinity(members("affinity", n), rule.strength) for n, rule in enumerate(old.affinity))
    return replace(snapshot, hosts=hosts, vms=vms, rules=Rules(pins, tuple(anti), tuple(together)))


@objectives
@laws
@given(snapshots())
def test_vms_are_conserved(objective: Objective, snapshot: Snapshot) -> None:
    after = apply_plan(snapshot, planned(snapshot, objective))
    assert [vm.uuid for vm in after.vms] == [vm.uuid for vm in snapshot.vms]
    assert [vm.state for vm in after.vms] == [vm.state for vm in snapshot.vms]
    assert sum(vm.memory_mib for vm in after.vms) == sum(vm.memory_mib for vm in snapshot.vms)


@objectives
@laws
@given(snapshots())
def test_what_must_stay_stays(objective: Objective, snapshot: Snapshot) -> None:
    made = planned(snapshot, objective)
    for step in made.steps:
        vm = snapshot.vm(step.uuid)
        source = snapshot.host(step.source)
        assert vm.movable
        assert vm.quarantine is None
        assert vm.destination is None
        assert vm.active
        assert source.state is not HostState.UNREACHABLE
        assert not source.stale
        if step.reason.code != "repair":
            assert vm.hold is None
            assert step.destination not in vm.not_to
            assert vm.cpu_demand_cores is not None
    pinned = replace(snapshot, rules=Rules(pins=tuple(Pin(vm.uuid, (vm.host or "",)) for vm in snapshot.vms)))
    assert planned(pinned, objective).steps == ()


@objectives
@laws
@given(snapshots())
def test_the_score_kept_up_with_moves_is_the_score_computed_anew(objective: Objective, snapshot: Snapshot) -> None:
    snapshot = plain(snapshot)
    settings = PlannerSettings(objective=objective)
    load = Load(View(snapshot), settings)
    goal = GOALS[objective](load, settings)
    goal.search(load, load.known.copy(), _unlimited())
    hosts = [load.view.hosts[host].name for host in load.view.vm_host]
    moved = replace(snapshot, vms=tuple(replace(vm, host=name) for vm, name in zip(snapshot.vms, hosts, strict=True)))
    view = View(moved)
    for name in ("free_memory_mib", "anti_affinity_counts", "against_counts", "affinity_counts", "vm_host", "active"):
        assert np.array_equal(getattr(view, name), getattr(load.view, name))
    if objective is Objective.SPREAD:
        after = apply_plan(snapshot, planned(snapshot, objective))
        anew = Load(View(after), settings)
        assert score(goal.terms(anew)) == pytest.approx(planned(snapshot, objective).score_after, abs=1e-9)


def _unlimited() -> object:
    from scheduler.planner.objective import Budget

    return Budget(None, lambda: False)


@laws
@given(snapshots())
def test_the_scores_of_all_moves_are_those_after_making_them(snapshot: Snapshot) -> None:
    snapshot = plain(snapshot)
    assume(snapshot.vms)
    settings = PlannerSettings(objective=Objective.SPREAD)
    load = Load(View(snapshot), settings)
    goal = GOALS[Objective.SPREAD](load, settings)
    running = np.flatnonzero(load.view.active)
    hosts = np.arange(len(load.view.hosts))
    sources = load.view.vm_host[running]
    even = Evenness(load)
    predicted = even.after(running, sources, hosts)
    for row, vm in enumerate(running):
        for host in set(range(len(load.view.hosts))) - {int(load.view.vm_host[vm])}:
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
def test_symmetric_load_moves_nothing(snapshot: Snapshot) -> None:
    """Every host the same, each with the same VMs, however high their load."""
    first = snapshot.hosts[0]
    hosts = tuple(replace(first, name=f"twin{n}") for n in range(3))
    vms = tuple(
        replace(vm, name=f"{vm.name}-{n}", uuid=f"{vm.uuid}-{n}", host=f"twin{n}", cpu_missing_on={}, destination=None)
        for n in range(3)
        for vm in snapshot.vms[:4]
    )
    even = replace(snapshot, hosts=hosts, vms=vms, rules=Rules())
    for objective in (Objective.CONTENTION, Objective.SPREAD):
        made = planned(even, objective)
        assert made.score_after <= made.score_before
    assert planned(even, Objective.SPREAD).steps == ()
