"""What a migration costs, from memory, dirty rate and bandwidth."""

import pytest

from scheduler.planner.cost import SETUP_SECONDS, convergence, predict
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import vm

SETTINGS = PlannerSettings(bandwidth_mib_per_s=100.0)


def test_an_idle_guest_is_carried_once() -> None:
    cost = predict(vm("web", memory_mib=8192, memory_used_mib=1000), SETTINGS)
    assert cost.seconds == pytest.approx(SETUP_SECONDS + 10)
    assert cost.downtime_ms == 0


def test_dirtied_memory_is_carried_again_until_it_fits_the_downtime() -> None:
    cost = predict(vm("web", memory_used_mib=1000, dirty_mib_per_s=50), SETTINGS)
    # 1000 MiB halve each round until 30 MiB or less are left: 6 rounds.
    assert cost.seconds == pytest.approx(SETUP_SECONDS + 10 * (1 - 0.5**6) / 0.5)
    assert cost.downtime_ms == pytest.approx(1000 * 10 * 0.5**6)


def test_a_measured_bandwidth_counts_more_than_the_assumed_one() -> None:
    slow, fast = (predict(vm("web"), SETTINGS, bandwidth).seconds for bandwidth in (50.0, 1000.0))
    assert slow > predict(vm("web"), SETTINGS).seconds > fast


def test_a_busy_guest_costs_more_cpu() -> None:
    idle, busy = (predict(vm("web", cpu_demand_cores=cores), SETTINGS).core_seconds for cores in (0.0, 8.0))
    assert busy > idle > 0


@pytest.mark.parametrize("dirty", [None, 0.0, 80.0])
def test_a_guest_that_dirties_less_than_can_be_carried_converges(dirty: float | None) -> None:
    assert convergence(vm("web", dirty_mib_per_s=dirty), SETTINGS) is None


def test_one_that_dirties_more_does_not() -> None:
    reason = convergence(vm("web", dirty_mib_per_s=300.0), SETTINGS)
    assert reason is not None
    assert reason.code == "will_not_converge"
    assert reason.text == "dirties 300 MiB/s, a migration carries 100 MiB/s and would not end"
    assert convergence(vm("web", dirty_mib_per_s=300.0), SETTINGS, 1000.0) is None


@pytest.mark.parametrize("memory", [0, 1])
def test_almost_no_memory_is_no_trouble(memory: int) -> None:
    assert predict(vm("web", memory_used_mib=memory, dirty_mib_per_s=50), SETTINGS).seconds < SETUP_SECONDS + 1
