"""Moves come out in batches that can be run: room on both ends, limits kept, swaps by way of a third host."""

from scheduler.cluster.model import Host, Snapshot
from scheduler.cluster.reason import Reason
from scheduler.cluster.rules import AntiAffinity, Rules
from scheduler.filters.view import View
from scheduler.planner.load import Load
from scheduler.planner.objective import Move
from scheduler.planner.ordering import Order, order, steps
from scheduler.planner.plan import total_seconds
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
    return order(Load(view, settings or PlannerSettings()), moves)


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


def test_no_host_is_driven_over_its_cpus_while_others_are_still_there() -> None:
    hosts = [host("a", cpus=4), host("b", cpus=4), host("c", cpus=4)]
    snapshot = cluster(hosts, [vm("one", "a", cpu_demand_cores=3.0), vm("two", "b", cpu_demand_cores=3.0)])
    result = ordered(snapshot, [("one", "b"), ("two", "c")])
    assert names(snapshot, result) == [[("two", "c")], [("one", "b")]]


def test_a_vm_is_parked_only_where_there_is_cpu_for_it() -> None:
    hosts = [full("a"), full("b"), host("busy", cpus=2), host("calm", memory_mib=8192)]
    vms = [vm("one", "a"), vm("two", "b"), vm("load", "busy", cpu_demand_cores=1.5)]
    snapshot = cluster(hosts, vms)
    result = ordered(snapshot, [("one", "b"), ("two", "a")])
    assert names(snapshot, result)[0] == [("one", "calm")]
    alone = cluster(hosts[:3], vms)
    assert [reason.code for _, reason in ordered(alone, [("one", "b"), ("two", "a")]).dropped] == ["no_order"] * 2


def test_what_migrates_already_counts_in_the_first_batch() -> None:
    snapshot = cluster([host(name) for name in "abc"], [vm("going", "a", destination="b"), vm("one", "a")])
    assert names(snapshot, ordered(snapshot, [("one", "c")])) == [[("one", "c")]]
    more = cluster([*snapshot.hosts, host("d")], [*snapshot.vms, vm("two", "a")])
    assert names(more, ordered(more, [("one", "b"), ("two", "d")])) == [[("two", "d")], [("one", "b")]]


def test_a_batch_starts_when_the_longest_step_before_it_ends() -> None:
    snapshot = cluster(
        [host(name) for name in "abc"], [vm("one", "a"), vm("two", "a", memory_mib=8192), vm("three", "a")]
    )
    load = Load(View(snapshot), PlannerSettings())
    made = steps(load, ordered(snapshot, [("one", "b"), ("two", "c"), ("three", "b")]))
    assert [round(step.start_seconds) for step in made] == [0, 0, round(made[1].predicted_seconds)]
    assert total_seconds(made) == made[1].predicted_seconds + made[2].predicted_seconds
