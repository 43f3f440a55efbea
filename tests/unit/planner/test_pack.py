"""`pack` empties hosts, wholly or not at all, and lets no loss of a host become worse."""

from scheduler.cluster.model import Snapshot
from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Rules
from scheduler.planner.balance import plan
from scheduler.planner.plan import Plan
from scheduler.planner.settings import Objective, PlannerSettings
from tests.unit.clusters import cluster, host, vm

GIB = 1024


def packed(snapshot: Snapshot, max_moves: int | None = None) -> Plan:
    return plan(snapshot, PlannerSettings(objective=Objective.PACK, max_moves=max_moves), clock=lambda: 0.0)


def emptied(snapshot: Snapshot) -> set[str]:
    return {step.source for step in packed(snapshot).steps}


def test_the_least_filled_host_is_emptied_into_the_fullest() -> None:
    hosts = [host("a"), host("b"), host("c", memory_mib=40 * GIB)]
    vms = [vm("one", "a"), *(vm(f"two{n}", "b") for n in range(2)), *(vm(f"many{n}", "c") for n in range(4))]
    made = packed(cluster(hosts, vms), max_moves=1)
    assert made.score_before == 3
    assert made.score_after == 2
    assert [(step.source, step.destination) for step in made.steps] == [("a", "c")]


def test_a_loss_that_was_survivable_stays_so() -> None:
    """Were b emptied into c, then x would have nowhere to go when a is lost."""
    new = frozenset({"avx2"})
    hosts = [
        host("a", cpu_features=new),
        host("b", cpu_features=frozenset()),
        host("c", cpu_features=new, memory_mib=8192),
    ]
    vms = [vm("x", "a", required_cpu_features=new, hold="cooldown"), vm("y", "b"), vm("z", "c", hold="cooldown")]
    assert packed(cluster(hosts, vms)).steps == ()


def test_a_host_is_emptied_wholly_or_not_at_all() -> None:
    vms = [vm("free", "a"), vm("gpu", "a", movable=False), *(vm(f"many{n}", "b") for n in range(4)), vm("c", "c")]
    assert emptied(cluster([host(name) for name in "abc"], vms)) == {"c"}
    three = [host(name) for name in "bde"]
    vms = [*vms[2:6], *(vm(f"more{n}", "d") for n in range(4)), *(vm(f"most{n}", "e") for n in range(5))]
    assert len(packed(cluster(three, vms)).steps) == 4
    assert packed(cluster(three, vms), max_moves=3).steps == ()


def test_no_host_is_filled_above_the_cpu_limit() -> None:
    vms = [vm(name, name, cpu_demand_cores=10.0) for name in "abc"]
    assert packed(cluster([host(name) for name in "abc"], vms)).steps == ()


def test_a_host_that_is_switched_off_is_no_room_for_a_loss() -> None:
    assert emptied(cluster([host("a"), host("b")], [vm(name, name) for name in "ab"])) == set()
    assert len(emptied(cluster([host(name) for name in "abc"], [vm(name, name) for name in "abc"]))) == 1


def test_the_hosts_that_can_be_switched_off_are_named() -> None:
    made = packed(cluster([host(name) for name in "abcd"], [vm(name, name) for name in "abc"]))
    left = {step.source for step in made.steps}
    assert len(left) == 1
    assert made.summary.endswith(f"{', '.join(sorted({'d'} | left))} can be switched off")


def test_a_host_whose_whole_memory_is_reserved_is_no_place_for_any() -> None:
    hosts = [host("a", reserved_memory_mib=65536), *(host(name) for name in "bcd")]
    made = packed(cluster(hosts, [vm("kept", "a", movable=False), *(vm(name, name) for name in "bcd")]))
    assert {step.destination for step in made.steps} <= {"b", "c", "d"}
    assert len(made.steps) == 1


def test_a_host_that_a_loss_needs_stays_on() -> None:
    """Neither a nor b could be lost without c or d, and one of these two is enough."""
    hosts = [host("a"), host("b"), host("c", memory_mib=60 * GIB), host("d")]
    vms = [vm(name, name, memory_mib=40 * GIB) for name in "ab"]
    assert packed(cluster(hosts, vms)).summary.endswith(", c can be switched off")
    assert "switched off" not in packed(cluster(hosts[:3], vms)).summary


def test_a_loss_that_was_not_survivable_becomes_no_worse() -> None:
    """Without b, x is homeless as it is; y, which needs the storage of a or b, would be too."""
    hosts = [host(name, storage=frozenset({"san"} if name in "ab" else ())) for name in "abcd"]
    vms = [
        vm("x", "b", memory_mib=16 * GIB),
        vm("y", "a", storage=frozenset({"san"})),
        *(vm(f"z{name}", name, memory_mib=8 * GIB, hold="cooldown") for name in "cd"),
    ]
    assert emptied(cluster(hosts, vms, Rules(pins=(Pin("x", ("b",)),)))) == set()
    assert emptied(cluster(hosts, [vms[0], vm("y", "a"), *vms[2:]], Rules(pins=(Pin("x", ("b",)),)))) == {"a"}


def test_a_vm_whose_device_is_lost_with_its_host_asks_for_no_room_elsewhere() -> None:
    hosts = [host("a", memory_mib=40 * GIB), host("b", memory_mib=72 * GIB), host("c")]
    bound = vm("bound", "b", memory_mib=56 * GIB, movable=False, blockers=("PCI device 0000:3b:00.0 (hostdev)",))
    vms = [vm("a", "a"), bound, vm("c", "c", memory_mib=8 * GIB)]
    assert emptied(cluster(hosts, vms)) == {"a"}


def test_a_vm_that_cannot_migrate_live_may_still_start_elsewhere() -> None:
    """A copying disk holds it while it runs; were b emptied into c, there would be no room to start it."""
    hosts = [host("a"), host("b"), host("c")]
    copying = vm("copying", "a", memory_mib=56 * GIB, movable=False, blockers=("block job on disk vda",))
    vms = [copying, vm("b", "b", memory_mib=6 * GIB), vm("c", "c", memory_mib=6 * GIB)]
    assert emptied(cluster(hosts, vms)) == set()


def test_a_lost_vm_may_start_on_an_older_hypervisor() -> None:
    hosts = [host("a", hypervisor_version="8.2.0"), *(host(name, hypervisor_version="7.2.0") for name in "bc")]
    vms = [
        vm("x", "a", memory_mib=40 * GIB),
        vm("y", "b", memory_mib=8 * GIB),
        vm("z", "c", memory_mib=24 * GIB),
    ]
    assert emptied(cluster(hosts, vms)) == set()


def test_lost_vms_are_kept_apart_over_racks_only_from_those_that_still_run() -> None:
    """With a or b emptied the other one's loss would leave r1 without a host, and r2 has its web."""
    hosts = [host("a", labels={"rack": "r1"}), host("b", labels={"rack": "r1"}), host("c", labels={"rack": "r2"})]
    rules = Rules(anti_affinity=(AntiAffinity(("web*",), spread_over="rack"),))
    vms = [vm("web1", "a"), vm("other", "b"), vm("web2", "c")]
    assert emptied(cluster(hosts, vms, rules)) == set()
    assert len(emptied(cluster(hosts, vms))) == 1


def test_lost_vms_of_two_groups_find_hosts_of_their_own() -> None:
    """Were either of the two hosts without a group emptied, losing prod or test would leave it beside the other."""
    hosts = [host(name) for name in "abc"]
    rules = Rules(anti_affinity=(AntiAffinity(("prod*",), against=("test*",)),))
    vms = [vm("prod1", "a"), vm("test1", "b"), vm("other", "c")]
    assert emptied(cluster(hosts, vms, rules)) == set()


def test_lost_vms_that_belong_together_need_one_host_for_all() -> None:
    hosts = [host(name) for name in "abc"]
    rules = Rules(affinity=(Affinity(("pair*",)),))
    vms = [
        *(vm(f"pair{n}", "a", memory_mib=24 * GIB) for n in range(2)),
        vm("b", "b", memory_mib=8 * GIB),
        vm("c", "c", memory_mib=12 * GIB),
    ]
    assert emptied(cluster(hosts, vms, rules)) == set()


def test_a_vm_that_is_lost_for_good_holds_none_of_its_group_back() -> None:
    """`bound` starts nowhere; `free`, which belongs with it, still needs its room on another host."""
    rules = Rules(affinity=(Affinity(("bound", "free")),))
    vms = [vm("bound", "a", movable=False), vm("free", "a", memory_mib=32 * GIB)]
    vms += [vm(name, name, memory_mib=20 * GIB, hold="cooldown" if name == "c" else None) for name in "bc"]
    assert emptied(cluster([host(name) for name in "abc"], vms, rules)) == set()
    vms[1] = vm("free", "a", memory_mib=20 * GIB)
    assert emptied(cluster([host(name) for name in "abc"], vms, rules)) == {"b"}
