"""`spread` evens the load out, also that of one empty host among many."""

import pytest

from scheduler.planner.balance import plan
from scheduler.planner.settings import Objective, PlannerSettings
from tests.unit.clusters import cluster, host, vm

SPREAD = PlannerSettings(objective=Objective.SPREAD)


def test_the_score_is_the_weighted_sum_of_deviations() -> None:
    snapshot = cluster([host("a"), host("b")], [vm("web", "a", cpu_demand_cores=8.0, memory_mib=32768)])
    weights = {"cpu": 1.0, "memory": 2.0, "vcpus": 0.0}
    made = plan(snapshot, PlannerSettings(objective=Objective.SPREAD, weights=weights), clock=lambda: 0.0)
    assert made.score_before == pytest.approx(0.25 + 2 * 0.25)
    assert made.steps == ()


@pytest.mark.parametrize("hosts", [3, 60])
def test_one_empty_host_is_filled_at_every_size(hosts: int) -> None:
    names = [f"host{n:02}" for n in range(hosts)]
    vms = [vm(f"web{name}{n}", name) for name in names[1:] for n in range(10)]
    made = plan(cluster([host(name) for name in names], vms), SPREAD, clock=lambda: 0.0)
    assert made.steps
    assert {step.destination for step in made.steps} == {"host00"}
    assert made.score_after < 0.5 * made.score_before


def test_hosts_of_different_sizes_are_not_filled_above_the_limit() -> None:
    vms = [vm(f"web{n}", "big", cpu_demand_cores=3.0, vcpus=4) for n in range(10)]
    made = plan(cluster([host("big", cpus=32), host("small", cpus=4)], vms), SPREAD, clock=lambda: 0.0)
    assert len(made.steps) == 1


def test_an_even_cluster_stays_as_it_is() -> None:
    vms = [vm(f"web{name}{n}", name) for name in "abc" for n in range(4)]
    assert plan(cluster([host(name) for name in "abc"], vms), SPREAD, clock=lambda: 0.0).steps == ()
