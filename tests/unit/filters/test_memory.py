from scheduler.cluster.model import VmState
from scheduler.filters.view import View
from tests.unit.clusters import cluster, host, verdict, vm


def test_says_how_much_is_missing_beside_the_reserve() -> None:
    snapshot = cluster(
        [host("a"), host("b", memory_mib=9216, reserved_memory_mib=2048)], [vm("web", "a"), vm("db", "b")]
    )
    assert verdict(snapshot, "web", "b") == {"memory_short": "needs 4,096 MiB, 1,024 MiB short"}


def test_a_vm_on_its_way_takes_room_on_both_hosts() -> None:
    hosts = [host(name, memory_mib=4096) for name in "abc"]
    snapshot = cluster(hosts, [vm("web", "a", destination="b"), vm("db", "c")])
    assert "memory_short" in verdict(snapshot, "db", "a")
    assert "memory_short" in verdict(snapshot, "db", "b")


def test_a_vm_fits_where_it_already_is() -> None:
    snapshot = cluster([host("a", memory_mib=4096)], [vm("web", "a")])
    assert verdict(snapshot, "web", "a") == {}


def test_a_stopped_vm_takes_no_room() -> None:
    snapshot = cluster([host("a", memory_mib=4096)], [vm("web", "a", state=VmState.STOPPED), vm("db")])
    assert View(snapshot).free_memory_mib.tolist() == [4096]


def test_a_paused_vm_does() -> None:
    snapshot = cluster([host("a", memory_mib=4096)], [vm("web", "a", state=VmState.PAUSED)])
    assert View(snapshot).free_memory_mib.tolist() == [0]
