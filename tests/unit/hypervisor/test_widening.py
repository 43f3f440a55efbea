"""What in a definition reaches into its host, kind by kind, and what of a usual guest does not."""

import pytest

from scheduler.cluster.ports import DefinitionError
from scheduler.hypervisor.widening import Allowed, find_widening

ALLOWED = Allowed(("/var/lib/libvirt/images", "/srv/shared"), ("vm-*",))
USUAL = """
<domain type='kvm' id='3'>
  <name>web1</name><uuid>4b3f6e0e-2f9c-4c58-9b1d-0a7f5b8f3d01</uuid><title>/not/a/path</title>
  <metadata><x:y xmlns:x='urn:x' path='/etc'>/etc</x:y></metadata>
  <memory unit='MiB'>512</memory><vcpu>2</vcpu><resource><partition>/machine</partition></resource>
  <os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type>
    <loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>
    <nvram template='/usr/share/OVMF/OVMF_VARS.fd'>/var/lib/libvirt/qemu/nvram/web1_VARS.fd</nvram></os>
  <features><acpi/><apic/></features><cpu mode='host-model'/>
  <clock offset='utc'><timer name='rtc'/></clock><on_poweroff>destroy</on_poweroff>
  <seclabel type='dynamic' model='apparmor' relabel='yes'/>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/var/lib/libvirt/images/a.qcow2'/>
      <backingStore type='file'><source file='/srv/shared/base.qcow2'/></backingStore>
      <target dev='vda' bus='virtio'/></disk>
    <disk type='volume' device='disk'><source pool='vm-fast' volume='b'/><target dev='vdb'/></disk>
    <disk type='network'><source protocol='rbd' name='pool/c'><host name='ceph1' port='6789'/></source>
      <target dev='vdc'/></disk>
    <disk type='file' device='cdrom'><target dev='sda'/></disk>
    <controller type='pci' model='pcie-root'/>
    <interface type='network'><source network='default'/></interface>
    <interface type='bridge'><source bridge='br0'/><target dev='vnet0'/></interface>
    <serial type='pty'><source path='/var/lib/libvirt/images/x'/></serial><console type='pty'/>
    <channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/channel/target/a'/>
      <target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <input type='tablet' bus='usb'/><graphics type='vnc' listen='127.0.0.1'/><video><model type='virtio'/></video>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
    <memballoon model='virtio'/><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>
"""


def widening(inside: str = "", *, top: str = "", attributes: str = "type='kvm'") -> list[str]:
    xml = f"<domain {attributes}><name>a</name><memory>1</memory>{top}<devices>{inside}</devices></domain>"
    return [str(one) for one in find_widening(xml, ALLOWED)]


def test_a_usual_guest_reaches_into_nothing() -> None:
    assert find_widening(USUAL, ALLOWED) == ()


@pytest.mark.parametrize(
    ("device", "place"),
    [
        ("<hostdev mode='subsystem' type='pci'/>", "devices/hostdev: "),
        ("<filesystem type='mount'><source dir='/'/><target dir='x'/></filesystem>", "devices/filesystem: "),
        ("<shmem name='x'/>", "devices/shmem: "),
        ("<something-new/>", "devices/something-new: "),
        ("<disk type='file'><source file='/etc/shadow'/></disk>", "devices/disk/source@file: /etc/shadow"),
        (
            "<disk type='file'><source file='/var/lib/libvirt/images/../../../../etc/shadow'/></disk>",
            "devices/disk/source@file: ",
        ),
        ("<disk type='file'><source file='etc/shadow'/></disk>", "devices/disk/source@file: "),
        ("<disk type='file'><source file='json:{}'/></disk>", "devices/disk/source@file: "),
        ("<disk type='block'><source dev='/dev/sda'/></disk>", "devices/disk/source@dev: /dev/sda"),
        ("<disk type='dir'><source dir='/root'/></disk>", "devices/disk/source@dir: /root"),
        ("<disk type='volume'><source pool='root' volume='a'/></disk>", "devices/disk/source@pool: root"),
        ("<disk type='network'><source protocol='http' name='a'/></disk>", "devices/disk/source@protocol: "),
        (
            "<disk type='network'><source protocol='nbd'><host transport='unix' socket='/run/x'/></source></disk>",
            "devices/disk/source/host@socket: /run/x",
        ),
        ("<disk type='nvme'><source/></disk>", "devices/disk: disk of type nvme"),
        ("<disk type='vhostuser'><source path='/x'/></disk>", "devices/disk: disk of type vhostuser"),
        ("<disk type='block' device='lun'/>", "devices/disk: SCSI"),
        (
            "<disk type='file'><backingStore type='file'><source file='/etc/shadow'/></backingStore></disk>",
            "devices/disk/backingStore/source@file: ",
        ),
        ("<disk type='file'/><disk type='file'><source file='/a'/></disk>", "devices/disk[2]/source@file: /a"),
        ("<interface type='direct'><source dev='eth0'/></interface>", "devices/interface: interface of type direct"),
        ("<interface type='hostdev'/>", "devices/interface: "),
        ("<interface type='ethernet'><script path='/x'/></interface>", "devices/interface: "),
        ("<interface type='bridge'><script path='/x'/></interface>", "devices/interface/script@path: "),
        ("<interface type='user'/>", "devices/interface: "),
        ("<interface type='server'/>", "devices/interface: "),
        ("<serial type='file'><source path='/etc/passwd'/></serial>", "devices/serial: serial of type file"),
        ("<serial type='dev'/>", "devices/serial: "),
        ("<console type='tcp'/>", "devices/console: "),
        ("<channel type='unix'><source mode='connect' path='/run/x'/></channel>", "devices/channel/source@path: "),
        ("<serial type='pty'><log file='/etc/x'/></serial>", "devices/serial/log@file: /etc/x"),
        ("<input type='evdev'/>", "devices/input: "),
        ("<graphics type='sdl'/>", "devices/graphics: "),
        ("<graphics type='spice'><gl rendernode='/dev/dri/x'/></graphics>", "devices/graphics/gl@rendernode: "),
        ("<audio type='file' path='/x'/>", "devices/audio: "),
        ("<tpm model='tpm-tis'><backend type='passthrough'/></tpm>", "devices/tpm: tpm with passthrough"),
        ("<rng model='virtio'><backend model='egd'/></rng>", "devices/rng: rng with egd"),
        ("<rng model='virtio'><backend model='random'>/dev/mem</backend></rng>", "devices/rng/backend: /dev/mem"),
        ("<memory model='nvdimm'><source><path>/dev/pmem0</path></source></memory>", "devices/memory/source/path: "),
        ("<emulator>/tmp/mine</emulator>", "devices/emulator: /tmp/mine"),
        ("<emulator>/usr/bin/qemu-system-x/../../../tmp/mine</emulator>", "devices/emulator: "),
        (
            "<disk type='file'><source file='/srv/shared/a'><seclabel relabel='no'/></source></disk>",
            "devices/disk/source/seclabel: ",
        ),
    ],
)
def test_devices_that_reach_into_the_host(device: str, place: str) -> None:
    found = widening(device)
    assert len(found) == 1, found
    assert found[0].startswith(place)


@pytest.mark.parametrize(
    ("top", "place"),
    [
        (
            "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg/></q:commandline>",
            "commandline: ",
        ),
        ("<cpu><q:x xmlns:q='urn:q'/></cpu>", "cpu/x: "),
        ("<os><kernel>/boot/vmlinuz</kernel></os>", "os/kernel: /boot/vmlinuz"),
        ("<os><initrd>/boot/initrd</initrd></os>", "os/initrd: "),
        ("<os><loader>/etc/shadow</loader></os>", "os/loader: "),
        ("<os><nvram template='/etc/shadow'/></os>", "os/nvram@template: "),
        ("<os><acpi><table type='slic'>/etc/shadow</table></acpi></os>", "os/acpi/table: "),
        ("<seclabel type='none'/>", "seclabel: "),
        ("<seclabel type='static'><label>x</label></seclabel>", "seclabel: "),
        ("<cputune><vcpusched vcpus='0' scheduler='fifo'/></cputune>", "cputune/vcpusched: "),
        ("<resource><partition>/system.slice</partition></resource>", "resource/partition: "),
        ("<idmap/>", "idmap: "),
    ],
)
def test_the_rest_of_a_domain_that_reaches_into_the_host(top: str, place: str) -> None:
    found = widening(top=top)
    assert len(found) == 1, found
    assert found[0].startswith(place)


def test_a_container_is_no_machine() -> None:
    assert widening(attributes="type='lxc'") == ["@type: lxc is no virtual machine monitor of its own"]


@pytest.mark.parametrize(
    "xml",
    [
        "<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/shadow'>]><domain>&x;</domain>",
        "<?xml version='1.0' encoding='UTF-7'?><domain/>",
        "<domain>" + "x" * 1024 * 1024 + "</domain>",
        "<network/>",
    ],
)
def test_what_is_read_differently_elsewhere_is_not_read_at_all(xml: str) -> None:
    with pytest.raises(DefinitionError):
        find_widening(xml, ALLOWED)
