"""What a migration costs, from memory, dirty rate and bandwidth."""

from dataclasses import replace

import pytest

from scheduler.cluster.model import Link
from scheduler.planner.cost import SETUP_SECONDS, Pace, Paces, convergence, predict
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import cluster, host, vm

PACE = Pace(100.0)


def test_an_idle_guest_is_carried_once() -> None:
    cost = predict(vm("web", memory_mib=8192, memory_used_mib=1000), PACE)
    assert cost.seconds == pytest.approx(SETUP_SECONDS + 10)
    assert cost.downtime_ms == 0


def test_dirtied_memory_is_carried_again_until_it_fits_the_downtime() -> None:
    cost = predict(vm("web", memory_used_mib=1000, dirty_mib_per_s=50), PACE)
    # 1000 MiB halve each round until 30 MiB or less are left: 6 rounds.
    assert cost.seconds == pytest.approx(SETUP_SECONDS + 10 * (1 - 0.5**6) / 0.5)
    assert cost.downtime_ms == pytest.approx(1000 * 10 * 0.5**6)


def test_what_was_measured_between_two_hosts_counts_there_and_only_there() -> None:
    links = (
        Link(source="a", destination="b", bandwidth_mib_per_s=1000.0, overhead_seconds=0.5),
        Link(source="a", destination="c", bandwidth_mib_per_s=500.0, overhead_seconds=1.5),
    )
    snapshot = replace(cluster([host("a"), host("b"), host("c")], []), links=links)
    paces = Paces(snapshot, PlannerSettings(bandwidth_mib_per_s=100.0))
    guest = vm("web", memory_used_mib=1000)
    assert predict(guest, paces.between("a", "b")).seconds == pytest.approx(0.5 + 1)
    assert predict(guest, paces.between("a", "c")).seconds == pytest.approx(1.5 + 2)
    assert predict(guest, paces.leaving("a")).seconds == pytest.approx(1.0 + 1000 / 750)
    for unmeasured in (paces.between("b", "a"), paces.leaving("b"), paces.leaving(None)):
        assert predict(guest, unmeasured).seconds == pytest.approx(SETUP_SECONDS + 10)


def test_a_busy_guest_costs_more_cpu() -> None:
    idle, busy = (predict(vm("web", cpu_demand_cores=cores), PACE).core_seconds for cores in (0.0, 8.0))
    assert busy > idle > 0


def test_one_whose_migrations_took_longer_than_predicted_must_gain_that_much_more() -> None:
    plain = predict(vm("web"), PACE)
    for factor, times in ((3.0, 3.0), (0.3, 1.0)):
        cost = predict(vm("web", migration_overrun_factor=factor), PACE)
        assert cost.seconds == plain.seconds
        assert cost.core_seconds == pytest.approx(times * plain.core_seconds)


@pytest.mark.parametrize("dirty", [None, 0.0, 80.0])
def test_a_guest_that_dirties_less_than_can_be_carried_converges(dirty: float | None) -> None:
    assert convergence(vm("web", dirty_mib_per_s=dirty), PACE) is None


def test_one_that_dirties_more_does_not() -> None:
    reason = convergence(vm("web", dirty_mib_per_s=300.0), PACE)
    assert reason is not None
    assert reason.code == "will_not_converge"
    assert reason.text == "dirties 300 MiB/s, a migration carries 100 MiB/s and would not end"
    assert convergence(vm("web", dirty_mib_per_s=300.0), Pace(1000.0)) is None
    assert convergence(vm("web", dirty_mib_per_s=300.0), Pace(100.0, throttles=True)) is None


@pytest.mark.parametrize("memory", [0, 1])
def test_almost_no_memory_is_no_trouble(memory: int) -> None:
    assert predict(vm("web", memory_used_mib=memory, dirty_mib_per_s=50), PACE).seconds < SETUP_SECONDS + 1
