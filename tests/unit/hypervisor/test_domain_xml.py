"""Domain XML of all kinds, friendly and hostile."""

import subprocess
import sys

import pytest

from scheduler.cluster.ports import DefinitionError
from scheduler.hypervisor.blockers import SharedStorage
from scheduler.hypervisor.domain_xml import read_definition, read_facts

SHARED = SharedStorage(("/srv/shared", "/mnt/nfs/"), frozenset({"ceph"}))


def domain(devices: str = "", rest: str = "", memory: str = "<memory>1048576</memory>") -> str:
    return f"<domain type='kvm'><name>vm</name>{memory}{rest}<devices>{devices}</devices></domain>"


def blockers(xml: str, *, running: bool = True) -> tuple[str, ...]:
    return read_facts(xml, SHARED, running=running).blockers


def test_a_whole_definition():
    definition = read_definition(
        """<domain type='qemu'>
          <name>web1</name><uuid>6695EB01F6A4830479AA97F2502E193F</uuid>
          <metadata><placement xmlns='urn:virt-scheduler:1' autostart='yes'>
            <label name='tier' value='db'/><label name='rack'/></placement></metadata>
          <memory unit='MiB'>512</memory><currentMemory unit='MiB'>256</currentMemory><vcpu current='1'>4</vcpu>
          <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
          <cpu mode='custom' match='exact' check='full'><model fallback='forbid'>Nehalem</model>
            <topology sockets='4' cores='1' threads='1'/><feature policy='require' name='aes'/>
            <feature policy='disable' name='vme'/><feature name='hypervisor'/></cpu>
          <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
            <interface type='bridge'><source bridge='br0'/></interface>
            <interface type='network'><source network='default' bridge='virbr0'/></interface>
            <interface type='user'/>
            <disk type='volume'><source pool='ceph' volume='v'/><target dev='vda'/></disk></devices>
        </domain>""",
        SHARED,
    )
    facts = definition.facts
    assert (definition.name, definition.uuid) == ("web1", "6695eb01-f6a4-8304-79aa-97f2502e193f")
    assert (facts.vcpus, facts.memory_mib, facts.virt_type) == (4, 512, "qemu")
    assert (facts.arch, facts.machine_type, facts.emulator) == ("x86_64", "pc-q35-7.2", "/usr/bin/qemu-system-x86_64")
    assert facts.required_cpu_features == {"aes", "hypervisor"}
    assert facts.networks == {"bridge:br0", "network:default"}
    assert facts.storage == {"ceph"}
    assert facts.labels == {"tier": "db", "rack": ""}
    assert facts.placement_autostart
    assert facts.blockers == ()


def test_the_cpu_text_is_the_same_whatever_is_the_guest_s_own_affair():
    one = """<cpu mode='custom' match='exact'>
      <model>Nehalem</model><topology cores='2'/><feature policy='require' name='aes'/></cpu>"""
    other = """<cpu match='exact' check='full' mode='custom'><model>Nehalem</model><numa/>
      <feature name='aes' policy='require'/></cpu>"""
    texts = {read_facts(domain(rest=cpu), SHARED, running=True).cpu_xml for cpu in (one, other)}
    assert len(texts) == 1
    assert "topology" not in texts.pop()


@pytest.mark.parametrize(
    ("cpu", "features"),
    [
        ("", frozenset()),
        ("<cpu mode='host-passthrough'/>", None),
        ("<cpu mode='host-model'><feature policy='require' name='aes'/></cpu>", None),
        ("<cpu mode='custom'><model>Nehalem</model></cpu>", frozenset()),
        ("<cpu mode='custom'><model>N</model><feature policy='optional' name='avx'/></cpu>", frozenset()),
    ],
)
def test_features_that_the_xml_demands(cpu, features):
    assert read_facts(domain(rest=cpu), SHARED, running=True).required_cpu_features == features


@pytest.mark.parametrize(
    ("memory", "mib"),
    [
        ("<memory>1048576</memory>", 1024),
        ("<memory unit='KiB'>1025</memory>", 2),
        ("<memory unit='b'>1</memory>", 1),
        ("<memory unit='GiB'>3</memory>", 3072),
        ("<memory unit='T'>1</memory>", 1024 * 1024),
        ("<memory unit='GB'>1</memory>", 954),
        ("<maxMemory slots='16' unit='TiB'>1</maxMemory><memory unit='MiB'>64</memory>", 64),
    ],
)
def test_units_of_memory(memory, mib):
    assert read_facts(domain(memory=memory), SHARED, running=True).memory_mib == mib


PCI = "<source><address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/></source>"


@pytest.mark.parametrize(
    ("device", "found"),
    [
        (f"<hostdev mode='subsystem' type='pci'>{PCI}</hostdev>", "PCI device 0000:3b:00.0 (hostdev)"),
        (
            "<hostdev type='mdev'><source><address uuid='c2177883'/></source></hostdev>",
            "mediated device c2177883 (hostdev)",
        ),
        (
            "<hostdev type='usb'><source><vendor id='0x046d'/><product id='0xc52b'/></source></hostdev>",
            "USB device 046d:c52b (hostdev)",
        ),
        (
            "<hostdev type='usb'><source><address bus='1' device='3'/></source></hostdev>",
            "USB device 1.3 (hostdev)",
        ),
        ("<hostdev type='scsi'><source/></hostdev>", "scsi device (hostdev)"),
        (f"<interface type='hostdev'>{PCI}</interface>", "PCI device 0000:3b:00.0 (interface)"),
        (
            "<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>",
            "vDPA device /dev/vhost-vdpa-0 (interface)",
        ),
        ("<filesystem type='mount'><target dir='home'/></filesystem>", "shared folder home (9p)"),
        ("<filesystem><driver type='virtiofs'/><target dir='home'/></filesystem>", "shared folder home (virtiofs)"),
        ("<shmem name='ivshmem0'/>", "shared memory ivshmem0 (shmem)"),
        (
            "<memory model='nvdimm'><source><path>/tmp/nv</path></source></memory>",
            "persistent memory /tmp/nv on local storage",
        ),
        ("<tpm><backend type='passthrough'/></tpm>", "TPM of the host (passthrough)"),
        ("<input type='evdev'/>", "input device of the host (evdev)"),
        ("<serial type='dev'><source path='/dev/ttyS0'/></serial>", "serial device /dev/ttyS0 of the host"),
        (
            "<disk type='file'><source file='/var/a.qcow2'/><target dev='vda'/></disk>",
            "disk vda on local storage: /var/a.qcow2",
        ),
        (
            "<disk type='block'><source dev='/dev/sdb'/><target dev='vda'/></disk>",
            "disk vda on local storage: /dev/sdb",
        ),
        (
            "<disk type='volume'><source pool='lvm' volume='v1'/><target dev='vda'/></disk>",
            "disk vda on local storage: volume v1 of pool lvm",
        ),
        ("<disk type='nvme'><source/><target dev='vda'/></disk>", "disk vda on local storage: nvme"),
        (
            "<disk type='file' device='cdrom'><source file='/iso/d.iso'/><target dev='sda'/></disk>",
            "CD-ROM sda with local medium: /iso/d.iso",
        ),
        (
            "<disk type='network'><source protocol='rbd'/><transient/><target dev='vda'/></disk>",
            "transient disk vda",
        ),
        ("<disk type='network'><source/><mirror type='file'/><target dev='vda'/></disk>", "block job on disk vda"),
        (
            """<disk type='file'><source file='/srv/shared/a'/><backingStore type='file'><source file='/srv/shared/b'/>
            <backingStore type='file'><source file='/base'/></backingStore></backingStore><target dev='vda'/></disk>""",
            "disk vda with backing file on local storage: /base",
        ),
    ],
)
def test_what_cannot_move_is_named(device, found):
    assert blockers(domain(device)) == (found,)


@pytest.mark.parametrize(
    "device",
    [
        "<disk type='file'><source file='/srv/shared/a.qcow2'/><target dev='vda'/></disk>",
        "<disk type='file'><source file='/mnt/nfs/x/../a.qcow2'/><target dev='vda'/></disk>",
        "<disk type='network'><source protocol='rbd' name='p/i'/><target dev='vda'/></disk>",
        "<disk type='volume'><source pool='ceph' volume='v'/><backingStore/><target dev='vda'/></disk>",
        "<disk type='file' device='cdrom'><target dev='sda'/></disk>",
        f"<hostdev type='pci'>{PCI}<teaming type='transient' persistent='ua-net'/></hostdev>",
        f"<interface type='hostdev'>{PCI}<teaming type='transient' persistent='ua-net'/></interface>",
        "<input type='tablet'/><serial type='pty'/><tpm><backend type='emulator'/></tpm>",
        "<memory model='dimm'/><memory model='nvdimm'><source><path>/srv/shared/nv</path></source></memory>",
    ],
)
def test_what_can_move_is_left_alone(device):
    assert blockers(domain(device)) == ()


def test_a_path_that_only_looks_shared_is_local():
    for path in ("/srv/shared-not/a", "/srv/shared/../local/a", "/srv"):
        assert blockers(domain(f"<disk type='file'><source file='{path}'/></disk>")) != ()


def test_firmware_variables_and_vtpm_hold_a_stopped_vm_only():
    xml = domain("<tpm><backend type='emulator'/></tpm>", "<os><nvram>/var/lib/libvirt/qemu/nvram/vm.fd</nvram></os>")
    assert blockers(xml, running=True) == ()
    assert blockers(xml, running=False) == (
        "firmware variables on local storage: /var/lib/libvirt/qemu/nvram/vm.fd",
        "vTPM state on local storage: /var/lib/libvirt/swtpm",
    )
    everything = SharedStorage(("/var/lib/libvirt",))
    assert read_facts(xml, everything, running=False).blockers == ()


def test_a_running_guest_with_a_steady_tsc_needs_a_named_frequency():
    steady = "<cpu mode='custom'><model>Haswell</model><feature policy='require' name='invtsc'/></cpu>"
    named = "<clock><timer name='tsc' frequency='2600000000'/></clock>"
    assert blockers(domain(rest=steady)) == ("CPU feature invtsc without a TSC frequency (clock/timer)",)
    assert blockers(domain(rest=steady + named)) == ()
    assert blockers(domain(rest=steady), running=False) == ()
    assert blockers(domain(rest=steady.replace("require", "disable"))) == ()


def test_encrypted_guests_stay():
    assert blockers(domain(rest="<launchSecurity type='sev'/>")) == ("encrypted guest memory (launchSecurity)",)


@pytest.mark.parametrize(
    ("xml", "place"),
    [
        ("", "not well-formed XML"),
        ("<domain>", "not well-formed XML: .*line 1"),
        ("<network/>", "root element is <network>, not <domain>"),
        ("<domain><memory>1</memory></domain>", "domain/name is missing"),
        ("<domain><name> </name><memory>1</memory></domain>", "domain/name is missing"),
        ("<domain><name>vm</name></domain>", "domain/memory is missing"),
        (domain(memory="<memory>lots</memory>"), "domain/memory: 'lots' is not a whole number"),
        (domain(memory="<memory>-1</memory>"), "domain/memory: '-1'"),
        (domain(memory="<memory>0</memory>"), "domain/memory: '0'"),
        (domain(memory="<memory>" + "9" * 5000 + "</memory>"), "domain/memory"),
        (domain(memory="<memory>\u0664\u0662</memory>"), "domain/memory"),
        (domain(memory="<memory unit='furlong'>1</memory>"), "domain/memory: unknown unit 'furlong', one of b,"),
        (domain(rest="<vcpu>many</vcpu>"), "domain/vcpu: 'many'"),
        (domain(rest="<uuid>12</uuid>"), "domain/uuid: '12' is not a UUID"),
        ("<!DOCTYPE domain [<!ENTITY a 'b'>]>" + domain(), "DOCTYPE"),
        (
            "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]><domain>&b;</domain>",
            "DOCTYPE",
        ),
        ("<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain><name>&x;</name></domain>", "DOCTYPE"),
        (domain(rest="&undefined;"), "not well-formed XML"),
        (domain(rest=" " * 1024 * 1024), "more than 1,048,576"),
        ("<domain>\0</domain>", "not well-formed XML"),
    ],
)
def test_a_definition_that_cannot_be_used_is_refused_with_the_place(xml, place):
    with pytest.raises(DefinitionError, match=place):
        read_definition(xml, SHARED)


def test_depth_is_bounded_and_does_no_harm():
    assert read_definition(domain(rest="<a>" * 255 + "</a>" * 255), SHARED).name == "vm"
    for depth in (256, 100_000):
        with pytest.raises(DefinitionError, match="nested more than 256 deep"):
            read_definition(domain(rest="<a>" * depth + "</a>" * depth), SHARED)


def test_reading_needs_no_libvirt():
    code = (
        "import sys; import scheduler.hypervisor.domain_xml;"
        "assert not {'libvirt', 'libvirtmod'} & sys.modules.keys(), sys.modules.keys()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("device", "copied"),
    [
        ("<disk type='file'><source file='/var/a.img'/><target dev='vda'/></disk>", [("vda", "/var/a.img")]),
        (
            "<disk type='file'><source file='/var/a.img'/><backingStore/><target dev='vda'/></disk>",
            [("vda", "/var/a.img")],
        ),
        ("<disk type='file'><source file='/srv/shared/a.img'/><target dev='vda'/></disk>", []),
        ("<disk type='file' device='cdrom'><source file='/var/a.iso'/><target dev='sda'/></disk>", []),
        ("<disk type='file'><source file='/var/a.img'/><readonly/><target dev='vda'/></disk>", []),
        ("<disk type='file'><source file='/var/a.img'/><shareable/><target dev='vda'/></disk>", []),
        (
            """<disk type='file'><source file='/var/a.img'/><backingStore type='file'><source file='/base'/>
            </backingStore><target dev='vda'/></disk>""",
            [],
        ),
        ("<disk type='block'><source dev='/dev/sdb'/><target dev='vda'/></disk>", []),
    ],
)
def test_which_disks_can_be_copied(device, copied):
    facts = read_facts(domain(device), SHARED, running=True)
    assert [(disk.target, disk.path) for disk in facts.local_disks] == copied
    assert all(disk.blocker in facts.blockers for disk in facts.local_disks)


@pytest.mark.parametrize(("kind", "expected"), [("kvm", 2_600_000_000), ("qemu", None)])
def test_the_frequency_that_a_guest_was_promised(kind, expected):
    xml = (
        f"<domain type='{kind}'><name>a</name><memory>1</memory>"
        "<clock><timer name='tsc' frequency='2600000000'/></clock></domain>"
    )
    assert read_facts(xml, SHARED, running=True).tsc_hz == expected
