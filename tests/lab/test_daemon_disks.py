"""Disks on a host's own storage, on real hosts: copied along where that is allowed and safe, refused where not."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import libvirt
import pytest

from scheduler.lab.guest import GuestSpec
from scheduler.lab.lab import Lab
from tests.lab.conftest import StartDaemon
from tests.lab.running_daemon import FAST, define, definitions, run_guests, running_on, start, until

pytestmark = pytest.mark.lab

DIRECTORY = "/var/lib/libvirt/disks"
POOL = f"<pool type='dir'><name>disks</name><target><path>{DIRECTORY}</path></target></pool>"
COPIES = '[[migration_classes]]\nvms = ["copied"]\ncopy_storage = true\n'
CONTENT = b"a guest's data" + bytes((8 << 20) - 14)


def with_disk(xml: str, path: str) -> str:
    disk = f"<disk type='file'><source file='{path}'/><target dev='vda' bus='virtio'/></disk>"
    return xml.replace("<memballoon", f"{disk}<memballoon")


@pytest.fixture
def disks(quick_lab: Lab) -> Iterator[dict[str, Path]]:
    """A directory of its own on each host; on node1 and node2 a storage pool."""
    folders = {name: host.folder / "lib" / "disks" for name, host in quick_lab.hosts.items()}
    pools = []
    for name, folder in folders.items():
        folder.mkdir()
        if name != "node3":
            connection = libvirt.open(quick_lab.hosts[name].uri)
            pools.append((connection, connection.storagePoolCreateXML(POOL)))
    yield folders
    for connection, pool in pools:
        with closing(connection):
            pool.destroy()
    for folder in folders.values():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def test_a_disk_is_copied_along_where_its_class_allows_it(
    quick_lab: Lab, disks: dict[str, Path], start_daemon: StartDaemon
) -> None:
    for name in ("copied", "bound", "claimed"):
        (disks["node1"] / f"{name}.img").write_bytes(CONTENT)
    # That every host sees it is what the config says, and not so.
    daemon = start_daemon(f'{FAST}shared_directories = ["{DIRECTORY}/claimed.img"]\n', COPIES)
    for name in ("bound", "claimed"):
        define(quick_lab, "node1", GuestSpec(name), lambda xml, name=name: with_disk(xml, f"{DIRECTORY}/{name}.img"))
        start(quick_lab, "node1", name, paused=True)
    run_guests(quick_lab, "node1", [GuestSpec("copied")], lambda xml: with_disk(xml, f"{DIRECTORY}/copied.img"))
    until(lambda: daemon.sees("copied", "running", "node1") and daemon.vm("bound"), "they are seen")

    def refused(vm: str, to: str) -> str:
        done = daemon.run("migrate", "--dry-run", vm, "--to", to)
        assert done.exit_code == 3, done
        return done.out

    bound = refused("bound", "node2")
    assert f"disk vda on local storage: {DIRECTORY}/bound.img" in bound
    assert "copy_storage" in bound
    assert "Migration without shared storage is unsafe" in refused("claimed", "node2")
    assert f"has no storage pool at {DIRECTORY}" in refused("copied", "node3")
    (disks["node2"] / "copied.img").write_bytes(b"somebody else's")
    assert f"{DIRECTORY}/copied.img is there already" in refused("copied", "node2")
    (disks["node2"] / "copied.img").unlink()

    done = daemon.run("migrate", "copied", "--to", "node2", "--json")
    assert done.exit_code == 0, done
    [record] = done.json["migrations"]
    assert record["predicted_bytes"] > len(CONTENT)
    assert definitions(quick_lab, "copied") == running_on(quick_lab, "copied") == ["node2"]
    assert (disks["node2"] / "copied.img").read_bytes() == CONTENT
    assert (disks["node1"] / "copied.img").read_bytes() == CONTENT
    quick_lab.wait_for_guest("copied")
