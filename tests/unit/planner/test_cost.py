"""What a migration costs, from memory, dirty rate and bandwidth."""

from dataclasses import replace

import pytest

from scheduler.cluster.model import Link
from scheduler.cluster.settings import ClassMeans, MigrationMeans
from scheduler.planner.cost import SETUP_SECONDS, Pace, Paces, cautions, convergence, predict
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import cluster, host, vm

PACE = Pace(100.0)
GUEST = vm("web", None)


def test_an_idle_guest_is_carried_once() -> None:
    cost = predict(vm("web", memory_mib=8192, memory_used_mib=1000), PACE)
    assert cost.seconds == pytest.approx(SETUP_SECONDS + 10)
    assert cost.downtime_ms == 0
    assert cost.transferred_mib == 1000


def test_dirtied_memory_is_carried_again_until_it_fits_the_downtime() -> None:
    cost = predict(vm("web", memory_used_mib=1000, dirty_mib_per_s=50), PACE)
    # 1000 MiB halve each round until 30 MiB or less are left: 6 rounds.
    assert cost.seconds == pytest.approx(SETUP_SECONDS + 10 * (1 - 0.5**6) / 0.5)
    assert cost.downtime_ms == pytest.approx(1000 * 10 * 0.5**6)
    assert cost.transferred_mib == pytest.approx(1000 * (2 - 0.5**6))


def test_a_wider_downtime_ends_it_earlier() -> None:
    guest = vm("web", memory_used_mib=1000, dirty_mib_per_s=50)
    narrow, wide = (predict(guest, Pace(100.0, means=MigrationMeans(max_downtime_ms=ms))) for ms in (300, 3000))
    assert wide.seconds < narrow.seconds
    assert narrow.downtime_ms <= 300 < wide.downtime_ms <= 3000


def test_guests_stand_still_as_long_as_they_did_on_that_link() -> None:
    links = (Link(source="a", destination="b", bandwidth_mib_per_s=100.0, overhead_seconds=0.5, downtime_ms=210.0),)
    paces = Paces(replace(cluster([host("a"), host("b")], []), links=links), PlannerSettings())
    assert predict(vm("web"), paces.between(GUEST, "a", "b")).downtime_ms == 210.0
    assert predict(vm("web"), paces.leaving(vm("web", "a"))).downtime_ms == 210.0
    assert predict(vm("web"), paces.between(GUEST, "b", "a")).downtime_ms == 0


def test_what_was_measured_between_two_hosts_counts_there_and_only_there() -> None:
    links = (
        Link(source="a", destination="b", bandwidth_mib_per_s=1000.0, overhead_seconds=0.5),
        Link(source="a", destination="c", bandwidth_mib_per_s=500.0, overhead_seconds=1.5),
    )
    snapshot = replace(cluster([host("a"), host("b"), host("c")], []), links=links)
    paces = Paces(snapshot, PlannerSettings(bandwidth_mib_per_s=100.0))
    guest = vm("web", memory_used_mib=1000)
    assert predict(guest, paces.between(GUEST, "a", "b")).seconds == pytest.approx(0.5 + 1)
    assert predict(guest, paces.between(GUEST, "a", "c")).seconds == pytest.approx(1.5 + 2)
    assert predict(guest, paces.leaving(vm("web", "a"))).seconds == pytest.approx(1.0 + 1000 / 750)
    for unmeasured in (paces.between(GUEST, "b", "a"), paces.leaving(vm("web", "b")), paces.leaving(GUEST)):
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


def test_from_and_to_a_host_whose_migrations_overran_all_must_gain_more() -> None:
    hosts = [host("a"), host("b"), replace(host("c"), migration_overrun_factor=2.5)]
    paces = Paces(cluster(hosts, []), PlannerSettings(bandwidth_mib_per_s=100.0))
    plain = predict(vm("web"), PACE).core_seconds
    for pace, times in (
        (paces.between(GUEST, "a", "b"), 1.0),
        (paces.leaving(vm("web", "a")), 1.0),
        (paces.between(GUEST, "a", "c"), 2.5),
        (paces.between(GUEST, "c", "a"), 2.5),
        (paces.leaving(vm("web", "c")), 2.5),
    ):
        assert predict(vm("web"), pace).core_seconds == pytest.approx(times * plain)
    assert predict(
        vm("web", migration_overrun_factor=4.0), paces.leaving(vm("web", "c"))
    ).core_seconds == pytest.approx(4 * plain)


def test_who_is_treated_more_carefully_is_told() -> None:
    slow = replace(host("c"), migration_overrun_factor=2.5)
    assert cautions(vm("web"), host("a"), host("b")) == ()
    told = cautions(vm("web", migration_overrun_factor=1.83), host("a"), slow)
    assert [reason.code for reason in told] == ["migrations_overrun"] * 2
    assert [reason.text for reason in told] == [
        "its latest migrations took 1.8 times as long as predicted: moving it has to gain that much more",
        "the latest migrations from and to c took 2.5 times as long as predicted: moving it has to gain that much more",
    ]


@pytest.mark.parametrize("dirty", [None, 0.0, 80.0])
def test_a_guest_that_dirties_less_than_can_be_carried_converges(dirty: float | None) -> None:
    assert convergence(vm("web", dirty_mib_per_s=dirty), PACE) is None


def test_one_that_dirties_more_does_not() -> None:
    reason = convergence(vm("web", dirty_mib_per_s=300.0), PACE)
    assert reason is not None
    assert reason.code == "will_not_converge"
    assert reason.text == "dirties 300 MiB/s, a migration carries 100 MiB/s and would not end"
    assert reason.remedy == "let a migration class with auto_converge or post_copy mean it"
    assert convergence(vm("web", dirty_mib_per_s=300.0), Pace(1000.0)) is None


def test_one_whose_whole_memory_fits_into_the_downtime_converges_however_much_it_writes() -> None:
    small = vm("web", memory_used_mib=200, dirty_mib_per_s=300.0)
    assert convergence(small, PACE) is not None
    assert convergence(small, Pace(100.0, means=MigrationMeans(max_downtime_ms=2000))) is None


@pytest.mark.parametrize(
    ("memory", "means", "helped_by"),
    [
        (1000, MigrationMeans(auto_converge=True), "auto_converge"),
        (1000, MigrationMeans(post_copy=True), "post_copy"),
        (1000, MigrationMeans(auto_converge=True, post_copy=True), "auto_converge"),
        (1000, MigrationMeans(downtime_limit_ms=10_000, auto_converge=True), "downtime_limit"),
        (1001, MigrationMeans(downtime_limit_ms=10_000), ""),
        (20, MigrationMeans(), ""),
    ],
)
def test_the_mildest_help_that_is_allowed_lets_it_end(memory: int, means: MigrationMeans, helped_by: str) -> None:
    guest, pace = vm("web", memory_used_mib=memory, dirty_mib_per_s=300.0), Pace(100.0, means=means)
    assert predict(guest, pace).helped_by == helped_by
    assert (convergence(guest, pace) is None) == (memory != 1001)
    assert predict(vm("web", memory_used_mib=memory, dirty_mib_per_s=1.0), pace).helped_by == ""


def test_classes_say_for_some_vms_by_what_their_migrations_may_end() -> None:
    slowed, fetched = MigrationMeans(auto_converge=True), MigrationMeans(post_copy=True)
    classes = ClassMeans(vms=("db-*",), means=slowed), ClassMeans(vms=("db-1", "tag:big"), means=fetched)
    paces = Paces(cluster([host("a"), host("b")], []), PlannerSettings(migration_classes=classes))
    for guest, means in (
        (vm("db-1", "a"), slowed),
        (vm("web", "a", labels={"big": ""}), fetched),
        (vm("web", "a"), MigrationMeans()),
    ):
        assert paces.leaving(guest).means == paces.between(guest, "a", "b").means == means


@pytest.mark.parametrize("memory", [0, 1])
def test_almost_no_memory_is_no_trouble(memory: int) -> None:
    assert predict(vm("web", memory_used_mib=memory, dirty_mib_per_s=50), PACE).seconds < SETUP_SECONDS + 1
