"""How many more fit, what ends it, and what is left when a host is lost."""

from scheduler.cluster.model import HostState
from scheduler.cluster.rules import AntiAffinity, Pin, Rules
from scheduler.planner.capacity import capacity
from scheduler.planner.placement import place
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import cluster, host, vm

SETTINGS = PlannerSettings()


def test_as_many_fit_as_can_be_placed() -> None:
    snapshot = cluster([host("a"), host("b", memory_mib=32768)], [vm("old", "a", memory_mib=6144)])
    kind = vm("web", memory_mib=12288)
    found = capacity(snapshot, kind, SETTINGS)
    assert (found.fits, found.runs_out_of) == (4 + 2, "memory")
    placements = place(snapshot, [vm(f"web{n}", memory_mib=12288) for n in range(8)], SETTINGS)
    assert sum(placement.host is not None for placement in placements) == found.fits


def test_cpu_ends_it_where_memory_does_not() -> None:
    found = capacity(cluster([host("a")], []), vm("busy", memory_mib=1024, cpu_demand_cores=4.0), SETTINGS)
    assert (found.fits, found.runs_out_of) == (3, "cpu")


def test_a_group_ends_it_and_a_pin_leaves_out_hosts() -> None:
    rules = Rules(pins=(Pin("web", ("a", "b")),), anti_affinity=(AntiAffinity(("web*",), max_per_host=2),))
    snapshot = cluster([host("a"), host("b"), host("c")], [vm("web0", "a")], rules)
    found = capacity(snapshot, vm("web"), SETTINGS)
    assert {one.host: (one.fits, one.runs_out_of) for one in found.hosts} == {
        "a": (1, "anti_affinity"),
        "b": (2, "anti_affinity"),
        "c": (0, "pinned"),
    }


def test_the_worst_host_to_lose_leaves_the_least() -> None:
    vms = [vm("a0", "a", memory_mib=40960), vm("b0", "b", memory_mib=4096)]
    found = capacity(cluster([host("a"), host("b"), host("c")], vms), vm("web", memory_mib=20480), SETTINGS)
    assert found.fits == 1 + 3 + 3
    assert (found.worst_loss, found.fits_after_loss, found.homeless_after_loss) == ("c", 4, 0)
    assert found.runs_out_of_after_loss == "memory"


def test_a_loss_that_cannot_be_survived_is_told() -> None:
    vms = [vm(f"{name}{n}", name, memory_mib=20480) for name in "ab" for n in range(2)]
    found = capacity(cluster([host("a"), host("b")], vms), vm("web"), SETTINGS)
    assert (found.fits_after_loss, found.homeless_after_loss) == (0, 1)


def test_a_cluster_without_hosts_that_are_up_takes_none() -> None:
    found = capacity(cluster([host("a", state=HostState.MAINTENANCE)], []), vm("web"), SETTINGS)
    assert (found.fits, found.runs_out_of, found.worst_loss) == (0, "host_state", None)


def test_a_rack_takes_only_so_many_however_many_hosts_it_has() -> None:
    hosts = [host(name, labels={"rack": name[0]}) for name in ("a1", "a2", "b1")]
    rules = Rules(anti_affinity=(AntiAffinity(("web*",), max_per_host=2, spread_over="rack"),))
    assert capacity(cluster(hosts, [vm("web0", "b1")], rules), vm("web"), SETTINGS).fits == 2 + 1


def test_a_group_that_keeps_apart_from_another_has_the_hosts_without_it_for_itself() -> None:
    rules = Rules(anti_affinity=(AntiAffinity(("prod*",), against=("batch*",)),))
    snapshot = cluster([host("a"), host("b")], [vm("batch1", "a")], rules)
    found = capacity(snapshot, vm("prod", cpu_demand_cores=0.1), PlannerSettings())
    assert [(one.host, one.fits) for one in found.hosts] == [("a", 0), ("b", 16)]
