"""Where VMs start, where running ones go, and what speaks against it."""

from dataclasses import replace

import pytest

from scheduler.cluster.model import HostState, VmState
from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Rules, Strength
from scheduler.planner.placement import Placer, check_move, choose_destination, place
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import cluster, host, vm

SETTINGS = PlannerSettings()


def test_the_emptier_host_wins_and_the_ranking_says_why() -> None:
    snapshot = cluster([host("a"), host("b")], [vm("old", "a", cpu_demand_cores=8.0)])
    (placement,) = place(snapshot, [vm("new")], SETTINGS)
    assert placement.host == "b"
    assert [ranked.host for ranked in placement.ranking] == ["b", "a"]
    assert placement.ranking[0].terms["cpu"] == pytest.approx(1 / 16)
    assert sum(placement.ranking[1].terms.values()) == pytest.approx(placement.ranking[1].score, abs=1e-5)


def test_each_vm_sees_the_room_that_those_before_it_take() -> None:
    snapshot = cluster([host("a", memory_mib=8192), host("b", memory_mib=4096)], [])
    placements = place(snapshot, [vm(f"new{n}") for n in range(4)], SETTINGS)
    hosts = [placement.host for placement in placements]
    assert sorted(hosts[:3]) == ["a", "a", "b"]
    assert hosts[3] is None
    assert {refusal.host: [r.code for r in refusal.reasons] for refusal in placements[3].refused} == {
        "a": ["memory_short"],
        "b": ["memory_short"],
    }


def test_a_refused_vm_comes_with_every_reason_of_every_host() -> None:
    hosts = [
        host("old", cpu_features=frozenset()),
        host("small", memory_mib=1024),
        host("off", state=HostState.MAINTENANCE),
    ]
    new = vm("new", required_cpu_features=frozenset({"avx2"}))
    rules = Rules(pins=(Pin("new", ("small", "off")),))
    (placement,) = place(cluster(hosts, [], rules), [new], SETTINGS)
    assert placement.host is None
    assert {refusal.host: {reason.code for reason in refusal.reasons} for refusal in placement.refused} == {
        "old": {"cpu_missing", "pinned"},
        "small": {"memory_short"},
        "off": {"host_state"},
    }


def test_no_placement_makes_a_host_hot_while_another_is_not() -> None:
    vms = [vm("busy", "a", cpu_demand_cores=14.0, memory_mib=1024), vm("fat", "b", memory_mib=57344)]
    (placement,) = place(cluster([host("a"), host("b")], vms), [vm("new", cpu_demand_cores=1.5)], SETTINGS)
    assert placement.host == "b"
    assert placement.ranking[1].terms["waiting"] > 10


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules(pins=(Pin("new", ("b",), Strength.SHOULD),)), "b"),
        (Rules(anti_affinity=(AntiAffinity(("new", "there"), Strength.SHOULD),)), "b"),
        (Rules(affinity=(Affinity(("new", "busy"), Strength.SHOULD),)), "b"),
        (Rules(), "a"),
    ],
)
def test_soft_rules_weigh_more_than_even_load(rules: Rules, expected: str) -> None:
    vms = [vm("there", "a"), vm("busy", "b", cpu_demand_cores=6.0)]
    (placement,) = place(cluster([host("a"), host("b")], vms, rules), [vm("new")], SETTINGS)
    assert placement.host == expected


def test_a_stopped_vm_stays_where_it_is_defined_unless_another_host_is_better() -> None:
    stopped = vm("web", "b", state=VmState.STOPPED)
    assert place(cluster([host("a"), host("b")], [stopped]), [stopped], SETTINGS)[0].host == "b"
    crowd = [vm(f"other{n}", "b") for n in range(8)]
    assert place(cluster([host("a"), host("b")], [stopped, *crowd]), [stopped], SETTINGS)[0].host == "a"


def test_a_running_vm_is_not_started_again() -> None:
    running = vm("web", "a")
    (placement,) = place(cluster([host("a"), host("b")], [running]), [running], SETTINGS)
    assert placement.host is None
    assert {refusal.reasons[0].text for refusal in placement.refused} == {"already runs on a"}


def test_names_do_not_decide() -> None:
    first = place(cluster([host("a"), host("b", cpus=32)], []), [vm("new")], SETTINGS)[0]
    second = place(cluster([host("b"), host("a", cpus=32)], []), [vm("new")], SETTINGS)[0]
    assert (first.host, second.host) == ("b", "a")


def test_a_running_vm_goes_to_the_best_other_host() -> None:
    vms = [vm("web", "a", hold="cooldown"), vm("busy", "b", cpu_demand_cores=6.0)]
    snapshot = cluster([host("a"), host("b"), host("c")], vms)
    placement = choose_destination(snapshot, snapshot.vms[0], SETTINGS)
    assert placement.host == "c"
    assert {refusal.host: refusal.reasons[0].code for refusal in placement.refused} == {"a": "already_there"}


def test_room_reserved_for_the_move_itself_is_not_counted_twice() -> None:
    web = vm("web", "a", destination="b")
    snapshot = cluster([host("a"), host("b", memory_mib=4096)], [web])
    assert check_move(snapshot, web, "b") == ()
    assert choose_destination(snapshot, web, SETTINGS).host == "b"


def test_what_speaks_against_a_move_is_told_before_it_is_tried() -> None:
    web = vm("web", "a", required_cpu_features=frozenset({"avx2", "sse4.2"}), dirty_mib_per_s=500.0)
    hosts = [host("a"), host("b", cpu_features=frozenset({"aes"}), memory_mib=2048)]
    reasons = check_move(cluster(hosts, [web]), web, "b", SETTINGS)
    assert [reason.text for reason in reasons] == [
        "dirties 500 MiB/s, a migration carries 100 MiB/s and would not end",
        "CPU lacks avx2, sse4.2",
        "needs 4,096 MiB, 2,048 MiB short",
    ]
    assert [reason.code for reason in check_move(cluster(hosts, [web]), web, "a")] == ["already_there"]


def test_a_vm_that_cannot_be_migrated_is_refused_everywhere() -> None:
    stopped = vm("web", "a", state=VmState.STOPPED)
    snapshot = cluster([host("a"), host("b")], [stopped])
    placement = choose_destination(snapshot, stopped, SETTINGS)
    assert placement.host is None
    assert {refusal.reasons[0].code for refusal in placement.refused} == {"not_running"}
    lost = replace(snapshot, hosts=(host("a", state=HostState.UNREACHABLE), host("b")), vms=(vm("web", "a"),))
    assert "source_unreachable" in {reason.code for reason in check_move(lost, lost.vms[0], "b")}


def test_an_unknown_vm_or_host_is_an_error() -> None:
    snapshot = cluster([host("a")], [vm("web", "a")])
    with pytest.raises(KeyError):
        check_move(snapshot, vm("ghost", "a"), "a")
    with pytest.raises(KeyError):
        check_move(snapshot, snapshot.vms[0], "nowhere")


def test_the_form_for_tools() -> None:
    (placement,) = place(cluster([host("a"), host("b", memory_mib=1024)], []), [vm("new")], SETTINGS)
    shown = placement.as_dict()
    assert set(shown) == {"vm", "host", "ranking", "refused", "moves_first"}
    assert shown["host"] == "a"
    text = "needs 4,096 MiB, 3,072 MiB short"
    assert shown["refused"] == [{"host": "b", "reasons": [{"code": "memory_short", "text": text}]}]


def test_a_placer_decides_one_after_the_other_as_all_at_once() -> None:
    snapshot = cluster([host("a"), host("b")], [vm("old", "a"), vm("off")])
    wanted = [vm("new1"), vm("off"), vm("new1"), vm("new2", memory_mib=65536)]
    placer = Placer(snapshot, SETTINGS)
    placements = [placer.place(one) for one in wanted]
    assert tuple(placements) == place(snapshot, wanted, SETTINGS)
    assert [placement.host for placement in placements][2:] == [None, None]
    assert {refusal.reasons[0].code for refusal in placements[2].refused} == {"already_running"}


def test_a_new_vm_does_not_go_where_another_has_its_name() -> None:
    placer = Placer(cluster([host("a"), host("b", cpus=4)], [vm("web", "a")]), SETTINGS)
    assert placer.place(vm("web", uuid="uuid-new")).host == "b"


def test_the_most_important_vm_is_placed_first_and_answers_come_in_the_order_asked() -> None:
    snapshot = cluster([host("a", memory_mib=4096)], [])
    made = place(snapshot, [vm("usual"), vm("gold", priority=2)], SETTINGS)
    assert [(one.vm, one.host) for one in made] == [("usual", None), ("gold", "a")]
