"""What each refusal proposes: the cheapest way to make the move possible."""

import pytest

from scheduler.cluster.model import HostState, LocalDisk, Vm, VmState
from scheduler.filters import registry
from scheduler.filters.view import View
from tests.unit.clusters import cluster, host, vm


def remedies(there: dict[str, object], moving: dict[str, object], *others: Vm) -> dict[str, str]:
    """What would let `web` move from a to b, by code."""
    view = View(cluster([host("a"), host("b", **there)], [vm("web", "a", **moving), *others]))
    need = view.need(view.vm_index("uuid-web"))
    return {reason.code: reason.remedy for reason in registry.reasons(view, need, view.host_index["b"])}


@pytest.mark.parametrize(
    ("there", "moving", "expected"),
    [
        ({"state": HostState.MAINTENANCE}, {}, {"host_state": "take b into use again: uncordon"}),
        ({"state": HostState.UNREACHABLE}, {}, {"host_state": ""}),
        (
            {"storage": frozenset()},
            {"storage": frozenset({"nfs"})},
            {"storage_missing": "start a pool nfs there: virsh pool-start"},
        ),
        (
            {"networks": frozenset()},
            {"networks": frozenset({"bridge:br1"})},
            {"network_missing": "make bridge:br1 there"},
        ),
        (
            {},
            {"movable": False, "blockers": ("CD-ROM sda with local medium: /a.iso", "shared memory x (shmem)")},
            {
                "not_movable": "eject the medium: virsh change-media --eject; "
                "detach the device for the move: virsh detach-device"
            },
        ),
        (
            {},
            {"movable": False, "blockers": ("disk vda on local storage: /a", "disk vdb on local storage: /b")},
            {
                "not_movable": "put the disk on storage that all hosts see, name its directory in shared_directories, "
                "or let a migration class with copy_storage mean it"
            },
        ),
        (
            {"storage": frozenset({"nfs"})},
            {"local_disks": (LocalDisk(target="vda", path="/images/a.img"),)},
            {"storage_missing": "start a pool at /images there: virsh pool-start"},
        ),
        (
            {"domain_types": frozenset({"qemu"})},
            {"domain_type": "kvm"},
            {"domain_type": "switch virtualisation on in that host's firmware and load the kvm modules"},
        ),
        (
            {"tsc_hz": 2_000_000_000},
            {"tsc_hz": 3_000_000_000},
            {
                "tsc_frequency": "leave the frequency out of clock/timer, and the feature invtsc with it, "
                "and start it anew"
            },
        ),
    ],
)
def test_what_would_help(there: dict[str, object], moving: dict[str, object], expected: dict[str, str]) -> None:
    assert remedies(there, moving) == expected


def test_memory_is_freed_by_the_smallest_vm_that_is_large_enough() -> None:
    full = [
        vm("small", "b", memory_mib=2048), vm("enough", "b", memory_mib=4096), vm("large", "b", memory_mib=8192),
        vm("fixed", "b", memory_mib=3072, movable=False), vm("off", "b", memory_mib=3072, state=VmState.STOPPED),
    ]  # fmt: skip
    there = {"memory_mib": 2048 + 4096 + 8192 + 3072 + 1024}
    assert remedies(there, {"memory_mib": 4000}, *full) == {
        "memory_short": "migrate enough, 4,096 MiB, away from there first"
    }
    assert remedies(there, {"memory_mib": 60000}, *full) == {"memory_short": ""}
