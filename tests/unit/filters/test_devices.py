from tests.unit.clusters import cluster, host, verdict, vm


def test_a_vm_with_a_passed_through_device_stays() -> None:
    blocked = vm("gpu", "a", movable=False, blockers=("PCI device 0000:3b:00.0 (hostdev)", "local disk vda"))
    snapshot = cluster([host("a"), host("b")], [blocked])
    text = "cannot leave its host: PCI device 0000:3b:00.0 (hostdev); local disk vda"
    assert verdict(snapshot, "gpu", "b") == {"not_movable": text}
    assert verdict(snapshot, "gpu", "a") == {}
