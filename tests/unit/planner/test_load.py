"""High demand of a host, and what follows moves one by one."""

import numpy as np
import pytest

from scheduler.cluster.model import Vm
from scheduler.filters.view import View
from scheduler.planner.load import Load
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import cluster, host, vm

SETTINGS = PlannerSettings()


def bursty(name: str, on: str | None, mean: float, high: float) -> Vm:
    return vm(name, on, cpu_demand_cores=mean, cpu_demand_high_cores=high)


def loaded(*vms: Vm) -> Load:
    return Load(View(cluster([host("a"), host("b")], list(vms))), SETTINGS)


def test_the_peaks_of_independent_vms_do_not_coincide() -> None:
    """Sixteen VMs of half a core that peak at two: 8 + sqrt(16 x 1.5^2), not 32."""
    load = loaded(*(bursty(f"web{n}", "a", 0.5, 2.0) for n in range(16)))
    assert load.host_high[0] == pytest.approx(8 + 6)


def test_one_large_peak_counts_in_full() -> None:
    load = loaded(bursty("batch", "a", 1.0, 9.0), *(bursty(f"web{n}", "a", 1.0, 1.0) for n in range(4)))
    assert load.host_high[0] == pytest.approx(5 + 8)


def test_a_vm_that_joins_and_leaves_again_leaves_no_trace() -> None:
    load = loaded(bursty("one", "a", 0.7, 1.9), bursty("two", "a", 0.1, 3.3), bursty("three", "b", 0.2, 0.2))
    before = load.host_high.copy()
    joined = load.high_with(0)[1]
    load.move(0, 1)
    assert load.host_high[1] == pytest.approx(joined)
    load.move(1, 1)
    assert load.host_high[0] == pytest.approx(0.0, abs=1e-12)
    load.move(0, 0)
    load.move(1, 0)
    assert load.host_high == pytest.approx(before)


@pytest.mark.parametrize(("mean", "high"), [(0.5, 2.0), (0.0, 1.0), (1.3, 1.3), (0.4, 11.0)])
def test_as_many_fit_as_can_join_one_after_the_other(mean: float, high: float) -> None:
    load = loaded(bursty("there", "a", 2.0, 4.0))
    limit = np.array([12.0, 3.0])
    more = load.add(bursty("more", None, mean, high))
    for place, number in enumerate(load.fits_at_high(more, limit)):
        trial = load.copy()
        for _ in range(int(number)):
            assert trial.high_with(more)[place] <= limit[place] + 1e-9
            trial.host_demand[place] += trial.demand[more]
            trial.host_excess_squared[place] += trial.excess_squared[more]
        assert trial.high_with(more)[place] > limit[place]
