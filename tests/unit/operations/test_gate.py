"""What the gate lets through, and for whom."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from scheduler.cluster.model import Host, Snapshot, Vm, VmState
from scheduler.operations.gate import Gate
from scheduler.operations.history import Move
from scheduler.operations.records import Trigger
from scheduler.operations.settings import Limits
from scheduler.simulation.clock import ManualClock

HOUR = 3600.0


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def gate(clock):
    return Gate(Limits(warm_up_seconds=0.0, min_moves_per_hour=1), clock)


def codes(gate, uuid="a", source="node1", destination="node2", trigger=Trigger.BALANCE, vms_total=100):
    return [reason.code for reason in gate.admit(uuid, source, destination, trigger, vms_total=vms_total)]


def moved(gate, uuid="a", source="node1", destination="node2", trigger=Trigger.BALANCE, *, success=True):
    gate.record_move(Move(uuid, source, destination, 0.0, trigger, success))


def snapshot(*vms):
    hosts = tuple(Host(name=f"node{number}", cpus=8, memory_mib=8192) for number in (1, 2))
    return Snapshot(taken_at=datetime.now(UTC), hosts=hosts, vms=vms)


def vm(uuid="a", host="node1", state=VmState.RUNNING):
    return Vm(name=uuid, uuid=uuid, vcpus=1, memory_mib=1024, host=host, state=state)


async def test_balancing_waits_until_the_warm_up_is_over(clock):
    gate = Gate(Limits(), clock)
    assert codes(gate) == ["warm_up"]
    assert codes(gate, trigger=Trigger.RULE) == []
    await clock.advance(300.0)
    assert codes(gate) == []


async def test_cooldown_doubles_with_each_move_of_a_day_up_to_its_limit(gate, clock):
    waits = []
    for _ in range(6):
        moved(gate, destination="node3")
        waited = 0.0
        while "cooldown" in codes(gate, destination="node4"):
            await clock.advance(300.0)
            waited += 300.0
        waits.append(waited)
    assert waits == [1800.0, 3600.0, 7200.0, 14400.0, 21600.0, 21600.0]


async def test_cooldown_begins_anew_after_a_day(gate, clock):
    moved(gate)
    await clock.advance(25 * HOUR)
    moved(gate)
    await clock.advance(1801.0)
    assert codes(gate, destination="node3") == []


async def test_no_move_back_where_it_came_from(gate, clock):
    moved(gate, source="node1", destination="node2")
    await clock.advance(5 * HOUR)
    assert codes(gate, source="node2", destination="node1") == ["reverse_move"]
    assert codes(gate, source="node2", destination="node3") == []
    await clock.advance(1.1 * HOUR)
    assert codes(gate, source="node2", destination="node1") == []


async def test_the_overlay_says_where_a_vm_must_not_go_so_that_plans_go_round(gate, clock):
    moved(gate, source="node2", destination="node1")
    moved(gate, uuid="b", source="node1", destination="node3", success=False)
    (seen,) = gate.overlay(snapshot(vm(host="node1"))).vms
    assert seen.not_to == {
        "node2": "came from node2, not back for 6.0 h",
        "node3": "the last migration from node1 to node3 failed, tried again in 5 min",
    }
    await clock.advance(6 * HOUR)
    assert gate.overlay(snapshot(vm(host="node1"))).vms[0].not_to == {}


async def test_a_drained_host_may_get_its_vms_back(gate, clock):
    moved(gate, trigger=Trigger.DRAIN)
    await clock.advance(HOUR)
    assert codes(gate, source="node2", destination="node1") == []


async def test_a_vm_that_a_person_moved_is_left_where_it_was_put(gate, clock):
    gate.note_manual_move("a", "node1", "node2")
    assert codes(gate, source="node2", destination="node3") == ["manual_move"]
    assert codes(gate, source="node2", destination="node3", trigger=Trigger.RULE) == []
    await clock.advance(6.1 * HOUR)
    assert codes(gate, source="node2", destination="node3") == []


async def test_a_move_that_a_person_undid_is_not_proposed_for_a_while(gate, clock):
    gate.note_manual_move("a", "node1", "node2")
    assert gate.turned_down("a", "node3") is gate.turned_down("b", "node1") is None
    refusal = gate.turned_down("a", "node1")
    assert refusal is not None
    assert refusal.code == "manual_move"
    await clock.advance(6.1 * HOUR)
    assert gate.turned_down("a", "node1") is None


async def test_failures_back_off_for_the_vm_and_for_the_pair(gate, clock):
    moved(gate, success=False)
    assert codes(gate, destination="node3") == ["failure_backoff"]
    assert codes(gate, uuid="b") == ["failure_backoff"]
    assert codes(gate, uuid="b", destination="node3") == []
    assert codes(gate, trigger=Trigger.DRAIN) == ["failure_backoff", "failure_backoff"]
    await clock.advance(301.0)
    assert codes(gate) == []
    moved(gate, success=False)
    await clock.advance(301.0)
    assert codes(gate) == ["failure_backoff", "failure_backoff"]
    moved(gate, trigger=Trigger.DRAIN)
    assert codes(gate, trigger=Trigger.RULE) == []


def test_the_hours_budget_counts_what_is_under_way_and_what_was_moved(gate):
    assert codes(gate, vms_total=100) == []
    gate.book("a", "node1", "node2", Trigger.BALANCE)
    moved(gate, uuid="b")
    assert codes(gate, uuid="c", source="node3", destination="node4", vms_total=100) == ["hourly_budget"]
    assert codes(gate, uuid="c", source="node3", destination="node4", vms_total=150) == []
    assert codes(gate, uuid="c", source="node3", destination="node4", trigger=Trigger.DRAIN) == []


@pytest.mark.parametrize(("vms_total", "budget"), [(3, 1), (29, 2), (60, 6), (100, 10), (499, 10), (550, 11)])
def test_the_budget_of_a_small_cluster_is_a_tenth_up_to_ten(clock, vms_total, budget):
    gate = Gate(Limits(warm_up_seconds=0.0), clock)
    for number in range(budget):
        assert codes(gate, uuid="c", destination="node3", vms_total=vms_total) == []
        moved(gate, uuid=f"moved{number}")
    assert codes(gate, uuid="c", destination="node3", vms_total=vms_total) == ["hourly_budget"]


async def test_the_hours_budget_lets_one_vm_through_in_a_small_cluster(gate, clock):
    assert codes(gate, vms_total=3) == []
    moved(gate, uuid="b")
    assert codes(gate, uuid="c", destination="node3", vms_total=3) == ["hourly_budget"]
    await clock.advance(HOUR + 1)
    assert codes(gate, uuid="c", destination="node3", vms_total=3) == []


def test_drains_rules_and_people_use_up_none_of_the_budget(gate):
    for trigger in (Trigger.DRAIN, Trigger.RULE, Trigger.MANUAL, Trigger.ADOPTED):
        moved(gate, uuid=trigger.value, trigger=trigger)
    assert codes(gate, vms_total=3, destination="node3") == []


def test_balancing_is_refused_where_others_wait_for_a_slot(gate):
    gate.book("b", "node1", "node2", Trigger.MANUAL)
    assert gate.begin("b")
    assert codes(gate) == ["no_slot"]
    assert codes(gate, trigger=Trigger.DRAIN) == codes(gate, trigger=Trigger.MANUAL) == []
    gate.book("a", "node1", "node2", Trigger.MANUAL)
    assert not gate.begin("a")
    gate.end("b")
    assert gate.begin("a")
    assert gate.slots("node2") == (1, 0)
    assert gate.slots("node1") == (0, 1)


def test_people_are_bound_by_nothing_but_what_is_under_way(clock):
    gate = Gate(Limits(), clock)
    moved(gate, success=False)
    moved(gate)
    for trigger in (Trigger.MANUAL, Trigger.RECOMMENDATION):
        assert codes(gate, source="node2", destination="node1", trigger=trigger, vms_total=1) == []
    gate.book("a", "node2", "node1", Trigger.MANUAL)
    assert codes(gate, source="node2", destination="node1", trigger=Trigger.MANUAL) == ["already_migrating"]


def test_the_memory_outlives_the_process(clock):
    gate = Gate(Limits(warm_up_seconds=0.0), clock)
    gate.restore([Move("a", "node1", "node2", clock.wall() - 900.0, Trigger.BALANCE, success=True)])
    (reason,) = gate.admit("a", "node2", "node3", Trigger.BALANCE, vms_total=1000)
    assert reason.code == "cooldown"
    assert reason.details["left_seconds"] == pytest.approx(900.0)


def test_a_move_journalled_by_a_wrong_clock_is_no_older_than_now(clock):
    gate = Gate(Limits(warm_up_seconds=0.0), clock)
    gate.restore([Move("a", "node1", "node2", clock.wall() + 1e6, Trigger.BALANCE, success=True)])
    (reason,) = gate.admit("a", "node2", "node3", Trigger.BALANCE, vms_total=1000)
    assert reason.details["left_seconds"] == pytest.approx(1800.0)


async def test_a_jump_of_the_wall_clock_changes_nothing(gate, clock):
    moved(gate)
    clock.jump_wall(86_400.0)
    assert "cooldown" in codes(gate)
    clock.jump_wall(-200_000.0)
    await clock.advance(1801.0)
    assert "cooldown" not in codes(gate)


def test_a_reserved_vm_is_active_where_it_will_be(gate):
    gate.reserve(vm("a", "node1", VmState.STOPPED), "node2")
    (seen,) = gate.overlay(snapshot(vm("a", "node1", VmState.STOPPED))).vms
    assert (seen.host, seen.state) == ("node2", VmState.RUNNING)
    gate.release("a")
    assert gate.overlay(snapshot(vm("a", "node1", VmState.STOPPED))).vms[0].state is VmState.STOPPED


def test_a_reserved_new_vm_is_in_the_picture(gate):
    gate.reserve(vm("new", None, VmState.STOPPED), "node2")
    seen = gate.overlay(snapshot(vm())).vm("new")
    assert (seen.host, seen.active) == ("node2", True)
    assert codes(gate, uuid="new", trigger=Trigger.MANUAL) == ["starting"]


async def test_a_reservation_ends_when_it_is_seen_fulfilled_or_is_overdue(gate, clock):
    gate.reserve(vm("a", None, VmState.STOPPED), "node2")
    gate.confirm("a")
    gate.overlay(snapshot(vm("a", "node2")))
    assert not gate.busy("a")
    gate.reserve(vm("b", None, VmState.STOPPED), "node2")
    gate.confirm("b")
    await clock.advance(61.0)
    assert gate.overlay(snapshot()).vms == ()


async def test_a_reservation_lasts_as_long_as_the_start_takes(gate, clock):
    gate.reserve(vm("a", None, VmState.STOPPED), "node2")
    await clock.advance(HOUR)
    assert gate.overlay(snapshot()).vm("a").host == "node2"


def test_a_booked_migration_takes_its_room_on_the_destination_at_once(gate):
    gate.book("a", "node1", "node2", Trigger.MANUAL)
    assert gate.overlay(snapshot(vm())).vms[0].destination == "node2"
    assert gate.overlay(snapshot(vm(host="node2"))).vms[0].destination is None


def test_hosts_that_are_gone_are_in_no_overlay(gate):
    gate.book("a", "node1", "node9", Trigger.MANUAL)
    gate.reserve(vm("new", None, VmState.STOPPED), "node9")
    (seen,) = gate.overlay(snapshot(vm())).vms
    assert seen.destination is None


def test_holds_tell_why(clock):
    gate = Gate(Limits(), clock, lambda vm: "its mode is observe" if vm.uuid == "quiet" else None)
    moved(gate, uuid="a")
    moved(gate, uuid="b", success=False)
    gate.note_manual_move("c", "node1", "node2")
    held = gate.overlay(snapshot(*(vm(uuid) for uuid in ("a", "b", "c", "d", "quiet"))))
    assert [seen.hold for seen in held.vms] == [
        "was moved, is left alone for 30 min",
        "its last migration failed, tried again in 5 min",
        "a person moved it to node2, it stays for 6.0 h",
        None,
        "its mode is observe",
    ]


def test_a_hold_of_the_observation_stays(gate):
    held = replace(vm(), hold="its UUID is active on two hosts")
    assert gate.overlay(snapshot(held)).vms[0].hold == held.hold
