import pytest

from scheduler.cluster.model import VmState
from tests.unit.clusters import cluster, host, verdict, vm

VERSIONS = {"libvirt_version": "9.0.0", "hypervisor_version": "8.1.2"}
OLDER_QEMU = {"hypervisor_older": "QEMU 7.2.9 is older than 8.1.2, where it runs"}
OLDER_LIBVIRT = {"hypervisor_older": "libvirt 8.10.0 is older than 9.0.0, where it runs"}


@pytest.mark.parametrize(
    ("libvirt", "qemu", "expected"),
    [
        ("9.0.1", "8.1.0", {}),
        ("9.0.0", "7.2.9", OLDER_QEMU),
        ("8.10.0", "10.0.0", OLDER_LIBVIRT),
        (None, None, {}),
    ],
    ids=["another stable release", "older QEMU", "older libvirt", "unknown"],
)
def test_a_running_vm_does_not_move_to_older_versions(libvirt: str | None, qemu: str | None, expected: object) -> None:
    there = host("b", libvirt_version=libvirt, hypervisor_version=qemu)
    assert verdict(cluster([host("a", **VERSIONS), there], [vm("web", "a")]), "web", "b") == expected
    stopped = vm("web", "a", state=VmState.STOPPED)
    assert verdict(cluster([host("a", **VERSIONS), there], [stopped]), "web", "b") == {}


def test_from_a_host_of_unknown_versions_it_may_move_anywhere() -> None:
    assert verdict(cluster([host("a"), host("b", **VERSIONS)], [vm("web", "a")]), "web", "b") == {}
