"""When nothing fits: the cheapest moves that make room."""

from scheduler.cluster.rules import Pin, Rules
from scheduler.planner.placement import Placement, place
from scheduler.planner.plan import apply_plan
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import cluster, host, vm

SETTINGS = PlannerSettings()
BIG = vm("big", memory_mib=49152)


def small(name: str, on: str, gib: int, **facts: object) -> object:
    return vm(name, on, memory_mib=1024 * gib, **facts)


def placed(hosts: int, *vms: object, rules: Rules | None = None) -> tuple[object, Placement]:
    snapshot = cluster([host(f"host{n}") for n in range(hosts)], list(vms), rules)
    return snapshot, place(snapshot, [BIG], SETTINGS)[0]


def test_the_cheapest_moves_make_room_and_then_it_fits() -> None:
    snapshot, placement = placed(2, small("a", "host0", 24), small("b", "host1", 16), small("c", "host1", 8))
    assert placement.host is None
    assert [(step.vm, step.destination) for step in placement.moves_first] == [("c", "host0")]
    assert placement.moves_first[0].reason.code == "make_room"
    after = apply_plan(snapshot, placement.moves_first)
    assert place(after, [BIG], SETTINGS)[0].host == "host1"


def test_several_moves_when_one_is_not_enough_and_no_more_than_needed() -> None:
    vms = [small(f"a{n}", "host0", 8) for n in range(4)] + [small(f"b{n}", "host1", 8) for n in range(3)]
    snapshot, placement = placed(2, *vms)
    assert len(placement.moves_first) == 1
    after = apply_plan(snapshot, placement.moves_first)
    assert place(after, [BIG], SETTINGS)[0].host == "host1"


def test_what_may_not_move_makes_no_room() -> None:
    _, placement = placed(2, small("a", "host0", 24, hold="cooldown"), small("b", "host1", 24, movable=False))
    assert placement.moves_first == ()


def test_moves_do_not_help_where_another_rule_refuses() -> None:
    rules = Rules(pins=(Pin("big", ("host1",)), Pin("b", ("host1",))))
    _, placement = placed(2, small("a", "host0", 24), small("b", "host1", 24), rules=rules)
    assert placement.moves_first == ()


def test_a_vm_that_fits_moves_none() -> None:
    _, placement = placed(2, small("a", "host0", 24))
    assert placement.host == "host1"
    assert placement.moves_first == ()
