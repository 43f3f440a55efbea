"""`contention` acts where VMs wait, only there, and says why what stays stays."""

from dataclasses import replace
from typing import Any

import pytest

from scheduler.cluster.model import HostState, Snapshot, Vm
from scheduler.cluster.rules import Pin, Priority, Rules
from scheduler.planner.balance import plan
from scheduler.planner.plan import Plan, apply_plan
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import cluster, host, vm

SETTINGS = PlannerSettings()


def planned(snapshot: Snapshot, settings: PlannerSettings = SETTINGS) -> Plan:
    return plan(snapshot, settings, clock=lambda: 0.0)


def busy(name: str, on: str, cores: float = 2.0, **facts: Any) -> Vm:
    return vm(name, on, cpu_demand_cores=cores, **facts)


def hot_pair(**facts: Any) -> Snapshot:
    """Host a of 4 CPUs with 6 cores of demand, host b of 16 with none."""
    vms = [busy(f"web{n}", "a", **facts) for n in range(3)]
    return cluster([host("a", cpus=4), host("b")], vms)


def codes(made: Plan) -> set[str]:
    return {reason.code for one in made.unmoved for reason in one.reasons}


def test_a_host_over_its_cpus_is_relieved() -> None:
    made = planned(hot_pair())
    assert [(step.source, step.destination) for step in made.steps] == [("a", "b"), ("a", "b")]
    assert made.score_before > made.score_after == 0
    assert made.unmoved == ()
    assert made.steps[0].reason.code == "cpu_contention"


def test_a_comfortable_cluster_is_left_alone_however_uneven() -> None:
    vms = [busy(f"web{n}", "a") for n in range(7)]
    made = planned(cluster([host("a"), host("b")], vms))
    assert made.steps == ()
    assert made.summary == "nothing to move, no VM waits and no memory is short"


def test_waiting_vms_are_believed_although_cpus_look_free() -> None:
    vms = [busy(f"web{n}", "a", cpu_wait_ratio=0.2) for n in range(4)]
    made = planned(cluster([host("a", cpu_used_cores=6.4), host("b")], vms))
    assert len(made.steps) == 1
    assert made.score_before == pytest.approx(1.6)


def test_short_contention_moves_nothing() -> None:
    snapshot = hot_pair()
    young = replace(snapshot.hosts[0], contended_seconds=30.0)
    made = planned(replace(snapshot, hosts=(young, snapshot.hosts[1])))
    assert made.steps == ()
    assert codes(made) == {"not_held_yet"}
    old = replace(young, contended_seconds=120.0)
    assert planned(replace(snapshot, hosts=(old, snapshot.hosts[1]))).steps


def test_no_move_makes_another_host_hot_at_its_high_demand() -> None:
    made = planned(
        cluster(
            [host("a", cpus=4), host("b", cpus=8)],
            [*(busy(f"web{n}", "a") for n in range(3)), busy("bursty", "b", 3.0, cpu_demand_high_cores=6.5)],
        )
    )
    assert made.steps == ()
    assert codes(made) == {"cpu_short"}
    assert made.unmoved[0].reasons[0].text == "b: has no 2.0 cores to spare"


def test_symmetric_high_load_moves_nothing() -> None:
    vms = [busy(f"web{name}{n}", name) for name in "abc" for n in range(3)]
    made = planned(cluster([host(name, cpus=4) for name in "abc"], vms))
    assert made.steps == ()
    assert len(made.unmoved) == 9


def test_most_relief_for_the_memory_that_is_carried() -> None:
    small, large = busy("small", "a", memory_mib=2048), busy("large", "a", memory_mib=32768)
    made = planned(cluster([host("a", cpus=4), host("b")], [large, small, busy("third", "a", 0.2)]))
    assert [step.vm for step in made.steps] == ["small"]


def test_what_may_not_move_stays_and_says_why() -> None:
    cases = {
        "held": {"hold": "moved by a person 5 minutes ago"},
        "not_movable": {"movable": False, "blockers": ("PCI device (hostdev)",)},
        "demand_unknown": {"cpu_demand_cores": None},
        "will_not_converge": {"dirty_mib_per_s": 200.0},
        "under_way": {"destination": "b"},
    }
    for code, facts in cases.items():
        others = [busy(f"web{n}", "a", hold="cooldown") for n in range(3)]
        made = planned(cluster([host("a", cpus=4), host("b")], [vm("odd", "a", **facts), *others]))
        assert made.steps == ()
        assert {one.reasons[0].code for one in made.unmoved if one.vm == "odd"} == {code}


def test_a_vm_that_is_leaving_is_not_followed_by_another() -> None:
    vms = [busy("leaving", "a", 3.0, destination="b"), busy("web", "a", 2.0)]
    assert planned(cluster([host("a", cpus=4), host("b")], vms)).steps == ()


def test_stale_and_unreachable_hosts_take_no_part() -> None:
    snapshot = hot_pair()
    unfit: list[dict[str, Any]] = [{"stale": True}, {"state": HostState.UNREACHABLE}]
    for facts in unfit:
        for place in (0, 1):
            hosts = list(snapshot.hosts)
            hosts[place] = replace(hosts[place], **facts)
            assert planned(replace(snapshot, hosts=tuple(hosts))).steps == ()


def test_a_host_short_of_memory_gives_vms_away() -> None:
    made = planned(cluster([host("a", memory_mib=8192), host("b")], [vm(f"web{n}", "a") for n in range(3)]))
    assert len(made.steps) == 1
    assert made.steps[0].reason.code == "memory_contention"


def test_a_small_relief_does_not_repay_a_large_migration() -> None:
    crawl = PlannerSettings(bandwidth_mib_per_s=1.0)
    made = planned(cluster([host("a", cpus=2), host("b")], [busy("one", "a", 1.0), busy("two", "a", 0.85)]), crawl)
    assert made.steps == ()
    assert codes(made) == {"no_gain"}


def test_a_limit_is_named_as_such() -> None:
    made = planned(hot_pair(), PlannerSettings(max_moves=1))
    assert len(made.steps) == 1
    assert codes(made) == {"limit_reached"}


def test_pinned_vms_stay_and_their_host_is_reported() -> None:
    snapshot = replace(hot_pair(), rules=Rules(pins=(Pin("web*", ("a",)),)))
    made = planned(snapshot)
    assert made.steps == ()
    assert made.unmoved[0].reasons[0].text == "b: pinned to a"


def test_nothing_is_left_to_do_afterwards() -> None:
    snapshot = hot_pair(cpu_wait_ratio=0.3)
    after = apply_plan(snapshot, planned(snapshot))
    again = planned(after)
    assert (again.steps, again.score_before) == ((), 0)


def test_what_is_left_of_waiting_below_the_limit_is_no_reason_for_a_second_move() -> None:
    """Two VMs share half a core and want a little more: when one has gone the other has enough, or nearly."""
    vms = [busy(name, "a", cores=0.5, cpu_wait_ratio=0.26, vcpus=1, memory_mib=128) for name in ("db", "cache")]
    made = planned(cluster([host("a", cpus=1, cpu_used_cores=0.48), host("b", cpus=1), host("c", cpus=1)], vms))
    assert len(made.steps) == 1


def test_a_host_that_a_vm_must_not_go_to_now_is_gone_round() -> None:
    banned = {"b": "came from b, not back for 6 h"}
    vms = [busy(f"web{n}", "a", not_to=banned) for n in range(3)]
    made = planned(cluster([host("a", cpus=4), host("b"), host("c")], vms))
    assert {step.destination for step in made.steps} == {"c"}
    stuck = planned(cluster([host("a", cpus=4), host("b")], vms))
    assert stuck.steps == ()
    assert [str(reason) for reason in stuck.unmoved[0].reasons] == ["b: came from b, not back for 6 h (not_now)"]


def test_the_host_on_which_an_important_vm_waits_is_relieved_first_by_moving_another() -> None:
    vms = [vm(f"{name}{n}", name, cpu_demand_cores=2.0) for name in "ab" for n in range(8)]
    snapshot = cluster([host("a"), host("b"), host("c", cpus=4)], vms)
    important = replace(snapshot, rules=Rules(priorities=(Priority(("b7",), 2),)))
    for of, source in ((snapshot, "a"), (important, "b")):
        made = plan(of, PlannerSettings(), clock=lambda: 0.0)
        assert [(step.source, step.vm == "b7") for step in made.steps] == [(source, False)]
    # Each host lacks 2.4 cores; of b's demand the important VM, four times as heavy, is an eighth: (7 + 4) / 8.
    assert made.terms[0].before == pytest.approx(2.4 + 2.4 * 11 / 8)


def test_of_two_that_relieve_as_well_the_less_important_one_moves() -> None:
    for gold in ("a0", "a7"):
        vms = [vm(f"a{n}", "a", cpu_demand_cores=1.9) for n in range(8)]
        rules = Rules(priorities=(Priority((gold,), 1),))
        made = plan(cluster([host("a"), host("b")], vms, rules), PlannerSettings(), clock=lambda: 0.0)
        assert made.steps
        assert gold not in {step.vm for step in made.steps}


def test_a_vm_that_fits_nowhere_changes_places_with_a_smaller_one() -> None:
    """Either host is full but for a little: only an exchange relieves the hot one."""
    hot = [busy("large", "a", 8.0, vcpus=8), busy("other", "a", 7.0, vcpus=16, movable=False)]
    cool = [busy("small", "b", 3.0, vcpus=8), busy("rest", "b", 4.0, vcpus=16, movable=False)]
    made = planned(cluster([host("a"), host("b")], [*hot, *cool]))
    assert [(step.vm, step.destination) for step in made.steps] == [("large", "b"), ("small", "a")]
    assert made.steps[0].batch < made.steps[1].batch
    assert {step.reason.code for step in made.steps} == {"cpu_contention", "makes_room"}
    assert made.score_after < made.score_before


def test_one_makes_room_for_another_by_going_to_a_third_host() -> None:
    hot = [busy("large", "a", 6.0, vcpus=8), busy("other", "a", 10.0, vcpus=16, movable=False)]
    cool = [busy("small", "b", 3.0, vcpus=8), busy("rest", "b", 6.0, vcpus=16, movable=False)]
    full = [busy("third", "c", 9.0, vcpus=16, movable=False)]
    made = planned(cluster([host("a"), host("b"), host("c")], [*hot, *cool, *full]))
    assert [(step.vm, step.destination) for step in made.steps] == [("small", "c"), ("large", "b")]
    assert made.steps[0].reason.text == "makes room on b for large"
    assert made.score_after == 0


def test_with_few_moves_the_largest_relief_counts_and_not_the_cheapest() -> None:
    vms = [
        busy("large", "a", 4.0, vcpus=4, memory_mib=16384),
        *(busy(f"web{n}", "a", memory_mib=2048) for n in range(7)),
    ]
    snapshot = cluster([host("a"), host("b")], vms)
    assert {step.vm[:3] for step in planned(snapshot).steps} == {"web"}
    assert [step.vm for step in planned(snapshot, PlannerSettings(max_moves=1)).steps] == ["large"]


def peaking(**facts: Any) -> Snapshot:
    """Host a of 8 CPUs whose VMs use 4 cores, and 8.9 when demand is high; host b of 16 with none."""
    vms = [busy(f"web{n}", "a", 1.0, vcpus=4, cpu_demand_high_cores=3.45) for n in range(4)]
    return cluster([host("a", cpus=8, **facts), host("b")], vms)


def test_a_host_that_will_be_short_when_demand_is_high_is_relieved() -> None:
    made = planned(peaking())
    assert {(step.source, step.reason.code) for step in made.steps} == {("a", "cpu_contention_expected")}
    assert made.score_after < made.score_before
    assert planned(apply_plan(peaking(), made)).steps == ()


@pytest.mark.parametrize(
    ("facts", "acts"),
    [
        ({"expected_contended_seconds": 1019.0}, False),
        ({"expected_contended_seconds": 1020.0, "contended_seconds": 0.0}, True),
        ({"contended_seconds": 0.0}, False),
    ],
)
def test_what_one_burst_leaves_in_the_percentile_moves_nothing(facts: dict[str, float], acts: bool) -> None:
    """The window of 15 minutes and the hold of 2; who tracks contention alone has no evidence of what is expected."""
    made = planned(peaking(**facts))
    assert bool(made.steps) is acts
    assert made.unmoved == ()


def test_expected_contention_just_above_the_limit_moves_nothing() -> None:
    vms = [busy(f"web{n}", "a", 1.0, vcpus=4, cpu_demand_high_cores=2.7) for n in range(4)]
    made = planned(cluster([host("a", cpus=8), host("b")], vms))
    assert made.score_before > 0
    assert made.steps == ()


def test_expected_contention_must_repay_what_its_relief_costs() -> None:
    snapshot = peaking()
    large = tuple(replace(one, memory_mib=15 * 1024) for one in snapshot.vms)
    made = plan(replace(snapshot, vms=large), PlannerSettings(bandwidth_mib_per_s=30.0), clock=lambda: 0.0)
    assert made.steps == ()
    assert codes(made) == {"no_gain"}
