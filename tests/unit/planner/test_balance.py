"""Planning as a whole: bounded in time, and open about what it did."""

from itertools import count

from scheduler.planner.balance import plan
from scheduler.planner.settings import Objective, PlannerSettings
from tests.unit.clusters import cluster, host, vm


def test_a_plan_ends_at_its_time_limit_with_what_it_has() -> None:
    names = [f"host{n}" for n in range(4)]
    snapshot = cluster([host(name) for name in names], [vm(f"web{n}", "host0") for n in range(12)])
    settings = PlannerSettings(objective=Objective.SPREAD, time_limit_seconds=5.0)
    ticks = count()
    cut = plan(snapshot, settings, clock=lambda: float(next(ticks)))
    whole = plan(snapshot, settings, clock=lambda: 0.0)
    assert 0 < len(cut.steps) < len(whole.steps)
    assert cut.score_after < cut.score_before
    assert cut.planning_seconds >= 5


def test_terms_are_told_before_and_after() -> None:
    made = plan(cluster([host("a", cpus=1), host("b")], [vm("w1", "a")]), PlannerSettings(), clock=lambda: 0.0)
    assert [(term.name, term.unit) for term in made.terms] == [
        ("cpu_waiting", "cores"),
        ("memory_short", "GiB"),
        ("cpu_expected", "cores"),
    ]
    assert sum(term.weight * term.before for term in made.terms) == made.score_before


def test_a_seed_chooses_between_equal_hosts() -> None:
    snapshot = cluster([host("a", cpus=1), *(host(name) for name in "bcd")], [vm("web", "a")])
    chosen = {plan(snapshot, PlannerSettings(), clock=lambda: 0.0, seed=seed).steps[0].destination for seed in range(4)}
    assert len(chosen) > 1


def test_an_empty_cluster_needs_nothing() -> None:
    for objective in Objective:
        made = plan(cluster([], []), PlannerSettings(objective=objective), clock=lambda: 0.0)
        assert (made.steps, made.score_before) == ((), 0)
        assert made.summary == "nothing to move, no host is up with fresh figures"


def test_a_host_that_joins_empty_is_not_filled_for_its_own_sake() -> None:
    vms = [vm(f"web{name}{n}", name) for name in "ab" for n in range(6)]
    made = plan(cluster([host("a"), host("b"), host("new")], vms), PlannerSettings(), clock=lambda: 0.0)
    assert made.steps == ()
