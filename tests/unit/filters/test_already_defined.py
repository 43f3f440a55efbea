from scheduler.cluster.model import VmState
from tests.unit.clusters import cluster, host, verdict, vm


def test_an_old_definition_elsewhere_is_not_overwritten() -> None:
    snapshot = cluster([host("a"), host("b"), host("c")], [vm("web", "a", defined_on=("a", "b"))])
    assert list(verdict(snapshot, "web", "b")) == ["already_defined"]
    assert verdict(snapshot, "web", "a") == {}
    assert verdict(snapshot, "web", "c") == {}


def test_a_host_with_another_vm_of_the_name_is_no_destination() -> None:
    running, stopped = vm("web", "a"), vm("web", "b", uuid="uuid-other", state=VmState.STOPPED, defined_on=("b", "c"))
    snapshot = cluster([host("a"), host("b"), host("c"), host("d")], [running, stopped])
    for taken in ("b", "c"):
        assert verdict(snapshot, "web", taken) == {"already_defined": "has another VM of the same name"}
    assert verdict(snapshot, "web", "a") == {}
    assert verdict(snapshot, "web", "d") == {}
