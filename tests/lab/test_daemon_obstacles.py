"""What keeps a VM from moving, each told for what it is and with what would help, on real libvirt."""

import pytest

from scheduler.lab.guest import GuestSpec
from scheduler.lab.lab import Lab
from tests.lab.conftest import StartDaemon
from tests.lab.running_daemon import FAST, define, start, until

pytestmark = pytest.mark.lab

HOSTDEV = "<hostdev mode='subsystem' type='{}'{}><source>{}</source></hostdev>"
DEVICES = {
    "pci": (HOSTDEV.format("pci", "", "<address bus='0x3b' slot='0'/>"), "PCI device 0000:3b:00.0 (hostdev)"),
    "usb": (
        HOSTDEV.format("usb", "", "<vendor id='0x046d'/><product id='0xc52b'/>") + "<controller type='usb'/>",
        "USB device 046d:c52b (hostdev)",
    ),
    "mdev": (
        HOSTDEV.format("mdev", " model='vfio-pci'", "<address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/>"),
        "mediated device c2177883-f1bb-47f0-914d-32a22e3a8804 (hostdev)",
    ),
    "cdrom": (
        "<disk type='file' device='cdrom'><source file='/var/lib/libvirt/d.iso'/><target dev='sda'/><readonly/></disk>",
        "CD-ROM sda with local medium: /var/lib/libvirt/d.iso",
    ),
    "folder": (
        "<filesystem><driver type='virtiofs'/><source dir='/srv'/><target dir='home'/></filesystem>",
        "shared folder home (virtiofs)",
    ),
    "shmem": (
        "<shmem name='ivshmem0'><model type='ivshmem-plain'/><size>4</size></shmem>",
        "shared memory ivshmem0 (shmem)",
    ),
    "tpm": (
        "<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>",
        "TPM of the host (passthrough)",
    ),
}
SHARED_MEMORY = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"


def test_each_device_that_stays_behind_is_named(clean_lab: Lab, start_daemon: StartDaemon) -> None:
    def with_device(xml: str, device: str) -> str:
        xml = xml.replace("<controller type='usb' model='none'/>", "") if "usb" in device else xml
        return xml.replace("<memballoon", f"{device}<memballoon").replace("<os>", f"{SHARED_MEMORY}<os>")

    for name, (device, _) in DEVICES.items():
        define(clean_lab, "node1", GuestSpec(name), lambda xml, device=device: with_device(xml, device))
    variables = "<loader readonly='yes' type='pflash'>/fw/CODE.fd</loader><nvram>/var/lib/libvirt/vars.fd</nvram></os>"
    define(clean_lab, "node1", GuestSpec("nvram"), lambda xml: xml.replace("</os>", variables))
    medium = clean_lab.hosts["node1"].folder / "lib" / "d.iso"
    medium.write_bytes(bytes(2048))
    start(clean_lab, "node1", "cdrom", paused=True)
    daemon = start_daemon(FAST)
    until(lambda: daemon.sees("cdrom", "paused", "node1"), "they are seen")
    expected = {name: [blocker] for name, (_, blocker) in DEVICES.items()}
    expected["nvram"] = ["firmware variables on local storage: /var/lib/libvirt/vars.fd"]
    seen = {vm["name"]: vm.get("blockers", []) for vm in daemon.run("snapshot").json["vms"]}
    assert seen == expected
    refused = daemon.run("migrate", "--dry-run", "cdrom", "--to", "node2")
    assert refused.exit_code == 3
    assert "cannot leave its host: CD-ROM sda with local medium: /var/lib/libvirt/d.iso" in refused.out
    assert "eject the medium: virsh change-media --eject" in refused.out
    medium.unlink()


def test_a_namesake_and_an_old_definition_are_in_the_way(clean_lab: Lab, start_daemon: StartDaemon) -> None:
    uuid = define(clean_lab, "node1", GuestSpec("twin"))
    start(clean_lab, "node1", "twin", paused=True)
    define(clean_lab, "node2", GuestSpec("twin"))
    define(clean_lab, "node3", GuestSpec("twin"), lambda xml: xml.replace("</name>", f"</name><uuid>{uuid}</uuid>"))
    daemon = start_daemon(FAST)
    until(lambda: len(daemon.run("snapshot").json["vms"]) == 2, "both are seen")
    for there, why, remedy in (
        ("node2", "has another VM of the same name", "rename one of the two: virsh domrename"),
        ("node3", "holds an old definition with the VM's UUID", "virsh undefine it there"),
    ):
        refused = daemon.run("migrate", "--dry-run", uuid, "--to", there)
        assert refused.exit_code == 3, refused
        assert why in refused.out
        assert remedy in refused.out
