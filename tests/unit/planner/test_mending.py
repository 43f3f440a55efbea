"""Soft rules cost: mended where that repays itself, kept by other moves, broken only for what weighs more."""

import pytest

from scheduler.cluster.model import Snapshot
from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Rules, Strength
from scheduler.planner.balance import plan
from scheduler.planner.plan import Plan, apply_plan
from scheduler.planner.settings import Objective, PlannerSettings
from tests.unit.clusters import cluster, host, vm

HOSTS = [host("a"), host("b"), host("c")]
SHOULD = Strength.SHOULD
objectives = pytest.mark.parametrize("objective", list(Objective))


def planned(snapshot: Snapshot, objective: Objective = Objective.CONTENTION) -> Plan:
    settings = PlannerSettings(objective=objective)
    made = plan(snapshot, settings, clock=lambda: 0.0)
    assert plan(apply_plan(snapshot, made), settings, clock=lambda: 0.0).steps == ()
    return made


def moves(made: Plan) -> list[tuple[str, str, str]]:
    return [(step.vm, step.destination, step.reason.text) for step in made.steps]


def soft_term(made: Plan) -> tuple[float, float, float]:
    return next((term.weight, term.before, term.after) for term in made.terms if term.name == "soft_rules")


def test_a_vm_off_its_soft_pin_goes_there_when_all_is_quiet() -> None:
    made = planned(cluster(HOSTS, [vm("db", "a")], Rules(pins=(Pin("db", ("c",), SHOULD),))))
    assert moves(made) == [("db", "c", "should run on c")]
    assert made.steps[0].reason.code == "soft_rule"
    assert soft_term(made) == (0.25, 1, 0)
    assert (made.score_before, made.score_after, made.steps[0].gain) == (0.25, 0, 0.25)


def test_without_soft_rules_the_score_is_the_objectives_own() -> None:
    made = planned(cluster(HOSTS, [vm("db", "a")], Rules(pins=(Pin("db", ("a",)),))))
    assert [term.name for term in made.terms if term.name == "soft_rules"] == []


@pytest.mark.parametrize(
    "facts", [{"memory_mib": 60 * 1024}, {"priority": 2, "memory_mib": 16384}, {"hold": "cooldown"}, {"movable": False}]
)
def test_it_stays_where_moving_costs_more_or_must_not_be(facts: dict[str, object]) -> None:
    assert planned(cluster(HOSTS, [vm("db", "a", **facts)], Rules(pins=(Pin("db", ("c",), SHOULD),)))).steps == ()


def test_it_does_not_go_to_a_host_that_is_half_full() -> None:
    busy = [vm(f"busy{n}", "c", cpu_demand_cores=2.0) for n in range(4)]
    rules = Rules(pins=(Pin("db", ("c",), SHOULD),))
    assert planned(cluster(HOSTS, [vm("db", "a"), *busy], rules)).steps == ()


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        (Rules(anti_affinity=(AntiAffinity(("web*",), SHOULD),)), "at most 1 of web* should share a host"),
        (
            Rules(anti_affinity=(AntiAffinity(("web*",), SHOULD, spread_over="rack"),)),
            "at most 1 of web* should share a rack",
        ),
        (
            Rules(anti_affinity=(AntiAffinity(("web1",), SHOULD, against=("web2",)),)),
            "web2 should share no host with web1",
        ),
    ],
)
def test_vms_that_should_be_apart_are_parted(rules: Rules, text: str) -> None:
    made = planned(cluster([host("a"), host("b")], [vm("web1", "a", memory_mib=8192), vm("web2", "a")], rules))
    assert [(name, to) for name, to, _ in moves(made)] == [("web2", "b")]
    assert made.steps[0].reason.text in (text, "web1 should share no host with web2")


def test_a_group_that_should_be_together_is_gathered() -> None:
    vms = [vm("app1", "a"), vm("app2", "b"), vm("app3", "b")]
    made = planned(cluster(HOSTS, vms, Rules(affinity=(Affinity(("app*",), SHOULD),))))
    assert moves(made) == [("app1", "b", "app* should run together")]


@objectives
def test_whatever_the_objective_a_soft_rule_is_mended(objective: Objective) -> None:
    vms = [
        vm("db", "a", memory_mib=1024, cpu_demand_cores=0.2),
        *(vm(f"other{name}", name, movable=False) for name in "ab"),
    ]
    made = planned(cluster([host("a"), host("b")], vms, Rules(pins=(Pin("db", ("b",), SHOULD),))), objective)
    assert ("db", "b") in [(name, to) for name, to, _ in moves(made)]


def hot(rules: Rules, *others: str) -> Snapshot:
    """Eight VMs that demand 20 cores of the 16 of host a."""
    vms = [vm(f"hot{n}", "a", cpu_demand_cores=2.5) for n in range(8)]
    return cluster([host("a"), *(host(name) for name in others)], vms, rules)


def test_relief_goes_where_no_soft_rule_is_broken() -> None:
    made = planned(hot(Rules(pins=(Pin("hot*", ("a", "c"), SHOULD),)), "b", "c"))
    assert {to for _, to, _ in moves(made)} == {"c"}


def test_relief_that_weighs_more_breaks_a_soft_rule() -> None:
    made = planned(hot(Rules(pins=(Pin("hot*", ("a",), SHOULD),)), "b"))
    assert {to for _, to, _ in moves(made)} == {"b"}
    assert soft_term(made)[2] == len(made.steps)
    assert made.score_after < made.score_before


def test_relief_that_weighs_less_says_that_a_soft_rule_weighs_more() -> None:
    vms = [vm(f"hot{n}", "a", cpu_demand_cores=1.81) for n in range(8)]
    snapshot = cluster([host("a"), host("b")], vms, Rules(pins=(Pin("hot*", ("a",), SHOULD),) * 10))
    made = planned(snapshot)
    assert made.steps == ()
    assert made.unmoved[0].reasons[-1].text == "b: a soft rule would be broken there, and that weighs more"


def test_evenness_breaks_no_soft_rule() -> None:
    vms = [vm(f"web{n}", "a") for n in range(8)]
    rules = Rules(pins=(Pin("web*", ("a", "b"), SHOULD),))
    made = planned(cluster(HOSTS, vms, rules), Objective.SPREAD)
    assert {to for _, to, _ in moves(made)} == {"b"}


def test_a_must_rule_is_repaired_before_a_soft_one_and_counted_apart() -> None:
    rules = Rules(pins=(Pin("db", ("c",)), Pin("web", ("b",), SHOULD)))
    made = planned(cluster(HOSTS, [vm("web", "a"), vm("db", "a")], rules))
    assert [step.reason.code for step in made.steps] == ["repair", "soft_rule"]
    assert "1 of them to repair a rule, 1 to mend a soft one" in made.summary
    assert made.as_dict()["repairs"] == 1
