"""Moves come out in batches that can be run: room on both ends, limits kept, swaps by way of a third host."""

from scheduler.cluster.model import Host, Snapshot
from scheduler.cluster.reason import Reason
from scheduler.cluster.rules import AntiAffinity, Rules
from scheduler.filters.view import View
from scheduler.planner.objective import Move
from scheduler.planner.ordering import Order, order
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import cluster, host, vm


def ordered(snapshot: Snapshot, wanted: list[tuple[str, str]], settings: PlannerSettings | None = None) -> Order:
    view = View(snapshot)
    moves = [
        Move(
            vm=(index := view.vm_index(f"uuid-{name}")),
            source=int(view.vm_host[index]),
            destination=view.host_index[destination],
            gain=0.0,
            reason=Reason("test", "wanted"),
        )
        for name, destination in wanted
    ]
    return order(view, moves, settings or PlannerSettings())


def names(snapshot: Snapshot, result: Order) -> list[list[tuple[str, str]]]:
    vms, hosts = snapshot.vms, snapshot.hosts
    return [[(vms[move.vm].name, hosts[move.destination].name) for move in batch] for batch in result.batches]


def full(name: str) -> Host:
    return host(name, memory_mib=4096)


def test_limits_of_hosts_hold_in_each_batch() -> None:
    snapshot = cluster([host(name) for name in "abcd"], [vm(f"web{n}", "a") for n in range(4)])
    wanted = [("web0", "b"), ("web1", "b"), ("web2", "c"), ("web3", "d")]
    result = ordered(snapshot, wanted)
    assert names(snapshot, result) == [[("web0", "b"), ("web2", "c")], [("web1", "b"), ("web3", "d")]]
    wide = PlannerSettings(max_inbound=2, max_outbound=4)
    assert len(ordered(snapshot, wanted, wide).batches) == 1


def test_a_vm_waits_until_the_one_before_has_left() -> None:
    snapshot = cluster([full("a"), full("b"), host("c")], [vm("one", "a"), vm("two", "b")])
    result = ordered(snapshot, [("one", "b"), ("two", "c")])
    assert names(snapshot, result) == [[("two", "c")], [("one", "b")]]


def test_a_full_swap_goes_by_way_of_a_third_host() -> None:
    snapshot = cluster([full("a"), full("b"), full("c")], [vm("one", "a"), vm("two", "b")])
    result = ordered(snapshot, [("one", "b"), ("two", "a")])
    assert names(snapshot, result) == [[("one", "c")], [("two", "a")], [("one", "b")]]
    assert result.batches[0][0].reason.code == "parking"
    assert not result.complete


def test_a_swap_without_room_anywhere_is_given_up() -> None:
    snapshot = cluster([full("a"), full("b")], [vm("one", "a"), vm("two", "b")])
    result = ordered(snapshot, [("one", "b"), ("two", "a")])
    assert result.batches == []
    assert [reason.code for _, reason in result.dropped] == ["no_order", "no_order"]


def test_vms_to_keep_apart_never_meet_on_the_way() -> None:
    rules = Rules(anti_affinity=(AntiAffinity(("web*",)),))
    snapshot = cluster([host(name) for name in "abc"], [vm("web1", "a"), vm("web2", "b")], rules)
    result = ordered(snapshot, [("web1", "b"), ("web2", "c")])
    assert names(snapshot, result) == [[("web2", "c")], [("web1", "b")]]
