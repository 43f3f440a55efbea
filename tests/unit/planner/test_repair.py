"""A broken must-rule is mended first, whatever the objective, and reported where it cannot be."""

from scheduler.cluster.model import Snapshot
from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Priority, Rules
from scheduler.planner.balance import plan
from scheduler.planner.plan import Plan
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import cluster, host, vm

HOSTS = [host("a"), host("b"), host("c")]


def planned(snapshot: Snapshot, max_moves: int | None = None) -> Plan:
    return plan(snapshot, PlannerSettings(max_moves=max_moves), clock=lambda: 0.0)


def test_a_vm_started_against_its_pin_goes_where_it_belongs() -> None:
    made = planned(cluster(HOSTS, [vm("db", "a")], Rules(pins=(Pin("db", ("c",)),))))
    assert [(step.vm, step.destination, step.reason.code) for step in made.steps] == [("db", "c", "repair")]
    assert made.steps[0].gain == 0
    assert "1 of them to repair a rule" in made.summary


def test_vms_that_must_be_apart_are_parted_with_as_few_moves_as_that_takes() -> None:
    vms = [vm(f"web{n}", "a", memory_mib=4096 * (n + 1)) for n in range(3)]
    made = planned(cluster(HOSTS, vms, Rules(anti_affinity=(AntiAffinity(("web*",)),))))
    assert sorted(step.vm for step in made.steps) == ["web0", "web1"]
    assert sorted(step.destination for step in made.steps) == ["b", "c"]


def test_a_scattered_group_is_gathered_where_most_of_it_runs() -> None:
    vms = [vm("app1", "a"), vm("app2", "b"), vm("app3", "b")]
    made = planned(cluster(HOSTS, vms, Rules(affinity=(Affinity(("app*",)),))))
    assert [(step.vm, step.destination) for step in made.steps] == [("app1", "b")]


def test_a_pinned_vm_takes_its_group_along() -> None:
    rules = Rules(pins=(Pin("app1", ("c",)),), affinity=(Affinity(("app*",)),))
    made = planned(cluster(HOSTS, [vm("app1", "a"), vm("app2", "a")], rules))
    assert sorted((step.vm, step.destination) for step in made.steps) == [("app1", "c"), ("app2", "c")]


def test_what_cannot_be_mended_is_reported() -> None:
    rules = Rules(pins=(Pin("db", ("c",)),))
    stuck = planned(cluster(HOSTS, [vm("db", "a", quarantine="runs on a and b")], rules))
    assert stuck.steps == ()
    assert [str(reason) for reason in stuck.unmoved[0].reasons] == ["runs on a and b (quarantine)"]
    full = planned(cluster([*HOSTS[:2], host("c", memory_mib=2048)], [vm("db", "a")], rules))
    texts = [reason.text for reason in full.unmoved[0].reasons]
    assert "c: needs 4,096 MiB, 2,048 MiB short" in texts


def test_a_rule_is_mended_although_a_person_has_just_moved_the_vm() -> None:
    rules = Rules(pins=(Pin("db", ("c",)),))
    made = planned(cluster(HOSTS, [vm("db", "a", hold="a person moved it to a")], rules))
    assert [(step.vm, step.destination) for step in made.steps] == [("db", "c")]


def test_repairs_count_towards_the_limit_of_moves() -> None:
    vms = [vm(f"db{n}", "a") for n in range(3)]
    made = planned(cluster(HOSTS, vms, Rules(pins=(Pin("db*", ("c",)),))), max_moves=2)
    assert len(made.steps) == 2


def test_of_two_groups_that_met_the_one_that_is_carried_sooner_leaves() -> None:
    rules = Rules(anti_affinity=(AntiAffinity(("prod*",), against=("batch*",)),))
    vms = [vm("prod1", "a", memory_mib=8192), *(vm(f"batch{n}", "a", memory_mib=4096) for n in range(3))]
    made = planned(cluster(HOSTS, vms, rules))
    assert [(step.vm, step.reason.details["rule"]) for step in made.steps] == [("prod1", "anti_affinity")]
    text = "where it is, a rule is broken: runs batch0, batch1, batch2 of batch*, which share no host with prod*"
    assert made.steps[0].reason.text == text
    important = Rules(rules.pins, rules.anti_affinity, priorities=(Priority(("prod*",), 2),))
    assert {step.vm for step in planned(cluster(HOSTS, vms, important)).steps} == {"batch0", "batch1", "batch2"}


def test_what_is_left_unmended_by_a_limit_says_so() -> None:
    vms = [vm(f"db{n}", "a") for n in range(3)]
    made = planned(cluster(HOSTS, vms, Rules(pins=(Pin("db*", ("c",)),))), max_moves=2)
    assert [one.reasons[0].code for one in made.unmoved] == ["limit_reached"]


def test_a_vm_bound_to_one_that_cannot_leave_is_reported_with_it() -> None:
    rules = Rules(pins=(Pin("app1", ("c",)),), affinity=(Affinity(("app*",)),))
    made = planned(cluster(HOSTS, [vm("app1", "a"), vm("app2", "a", movable=False, blockers=("hostdev",))], rules))
    assert made.steps == ()
    assert made.unmoved[0].reasons[0].text == "belongs with app2, which cannot leave"
