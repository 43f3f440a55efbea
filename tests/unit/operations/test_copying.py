"""Which disks a migration copies: those of running VMs whose class allows it, and what that means for a move."""

import pytest

from scheduler.cluster.model import LocalDisk, Vm, VmState
from scheduler.filters.devices import can_restart_elsewhere
from scheduler.filters.view import View
from scheduler.operations.settings import MigrationClass, MigrationSettings
from scheduler.planner.cost import Pace, predict
from tests.unit.clusters import cluster, host, verdict, vm

DISK = LocalDisk(target="vda", path="/images/web.img", size_mib=1000.0)
ALLOWED = MigrationSettings(classes=(MigrationClass(("web",), MigrationSettings(copy_storage=True)),))


def seen(name: str, *more: str, state: VmState = VmState.RUNNING) -> Vm:
    return vm(name, "a", state=state, movable=False, blockers=(DISK.blocker, *more), local_disks=(DISK,))


@pytest.mark.parametrize(
    ("one", "settings", "copied"),
    [
        (seen("web"), ALLOWED, True),
        (seen("web"), MigrationSettings(copy_storage=True), True),
        (seen("web"), MigrationSettings(), False),
        (seen("db"), ALLOWED, False),
        (seen("web", "CD-ROM sda with local medium: /a.iso"), ALLOWED, False),
        (seen("web", state=VmState.STOPPED), ALLOWED, False),
    ],
    ids=["its class", "all", "none", "another class", "bound by more", "stopped"],
)
def test_what_is_copied(one: Vm, settings: MigrationSettings, copied: bool) -> None:
    hosts = [host("a"), host("b", storage=frozenset({"pool", "/images"})), host("c", storage=frozenset({"pool"}))]
    snapshot = settings.copying(cluster(hosts, [one]))
    [found] = snapshot.vms
    assert bool(found.copied_disks) is copied
    assert ("not_movable" in verdict(snapshot, one.name, "b")) is not copied
    if copied:
        assert verdict(snapshot, one.name, "c") == {"storage_missing": "has no storage pool at /images"}


def test_a_copy_takes_its_time_and_is_counted() -> None:
    [found] = ALLOWED.copying(cluster([host("a")], [seen("web")])).vms
    without = predict(vm("web", "a"), Pace(100.0))
    with_copy = predict(found, Pace(100.0))
    assert with_copy.seconds - without.seconds == pytest.approx(10.0)
    assert with_copy.transferred_mib - without.transferred_mib == pytest.approx(1000.0)


def test_a_disk_that_may_be_copied_is_lost_with_its_host_all_the_same() -> None:
    view = View(ALLOWED.copying(cluster([host("a"), host("b")], [seen("web")])))
    assert view.need(0).movable
    assert not can_restart_elsewhere(view.need(0))
