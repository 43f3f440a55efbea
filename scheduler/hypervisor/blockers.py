"""Why a domain cannot leave its host, read from its XML: a clause each, for people. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from posixpath import normpath
from xml.etree import ElementTree as ET

from ..cluster.model import LocalDisk
from .xml_text import text_at

_NVRAM_DIRECTORY = "/var/lib/libvirt/qemu/nvram"
_VTPM_DIRECTORY = "/var/lib/libvirt/swtpm"


@dataclass(frozen=True, slots=True)
class SharedStorage:
    """Which storage every host sees. What is not known to be shared is taken as local."""

    directories: tuple[str, ...] = ()
    """Absolute paths; everything below them is shared."""
    pools: frozenset[str] = frozenset()
    """Names of storage pools."""

    def holds(self, path: str) -> bool:
        """Whether `path` is in one of the shared directories."""
        path = normpath(path)
        return any(
            path == directory or path.startswith(directory.rstrip("/") + "/")
            for directory in map(normpath, self.directories)
        )


def find_blockers(root: ET.Element, shared: SharedStorage, *, running: bool) -> tuple[str, ...]:
    """All reasons, in the order of the XML.

    Firmware variables and vTPM state travel with a live migration, but stay behind when a stopped domain's definition
    moves: on local storage they hold a stopped one only.
    """
    found: list[str] = []
    for devices in root.iterfind("devices"):
        for device in devices:
            look = _LOOK.get(device.tag)
            if look is not None:
                found.extend(look(device, shared))
    if root.find("launchSecurity") is not None:
        found.append("encrypted guest memory (launchSecurity)")
    if running:
        found.extend(_bound_clock(root))
    else:
        found.extend(_left_behind(root, shared))
    return tuple(found)


def find_local_disks(root: ET.Element, shared: SharedStorage) -> tuple[LocalDisk, ...]:
    """The disks that libvirt can copy to another host while the guest runs: whole files that one guest writes."""
    found = []
    for disk in root.iterfind("devices/disk[@type='file']"):
        source, target = disk.find("source"), disk.find("target")
        path = None if source is None else source.get("file")
        if path is None or target is None or shared.holds(path) or disk.get("device", "disk") != "disk":
            continue
        bound = any(disk.find(tag) is not None for tag in ("transient", "mirror", "shareable", "readonly"))
        if not bound and disk.find("backingStore/source") is None:
            found.append(LocalDisk(target=target.get("dev", "?"), path=path))
    return tuple(found)


def _disk(disk: ET.Element, shared: SharedStorage) -> Iterator[str]:
    target = disk.find("target")
    name = "?" if target is None else target.get("dev", "?")
    if disk.find("transient") is not None:
        yield f"transient disk {name}"
    if disk.find("mirror") is not None:
        yield f"block job on disk {name}"
    what = f"CD-ROM {name} with local medium" if disk.get("device") == "cdrom" else f"disk {name} on local storage"
    yield from _layer(disk, what, shared)
    # The whole chain must be there on the other side.
    for backing in disk.iter("backingStore"):
        yield from _layer(backing, f"disk {name} with backing file on local storage", shared)


def _layer(layer: ET.Element, what: str, shared: SharedStorage) -> Iterator[str]:
    kind = layer.get("type")
    source = layer.find("source")
    if source is None or kind == "network":
        return
    if kind == "volume":
        if source.get("pool", "") not in shared.pools:
            yield f"{what}: volume {source.get('volume', '?')} of pool {source.get('pool', '?')}"
        return
    if kind in {"nvme", "vhostuser", "vhostvdpa"}:
        yield f"{what}: {kind}"
        return
    path = source.get("file") or source.get("dev") or source.get("dir")
    if path and not shared.holds(path):
        yield f"{what}: {path}"


def _hostdev(hostdev: ET.Element, _shared: SharedStorage) -> Iterator[str]:
    if _replaceable(hostdev):
        return
    kind = hostdev.get("type", "host")
    address = hostdev.find("source/address")
    if kind == "pci" and address is not None:
        yield f"PCI device {_pci(address)} (hostdev)"
    elif kind == "mdev" and address is not None:
        yield f"mediated device {address.get('uuid', '?')} (hostdev)"
    elif kind == "usb":
        yield f"USB device {_usb(hostdev)} (hostdev)"
    else:
        yield f"{kind} device (hostdev)"


def _interface(interface: ET.Element, _shared: SharedStorage) -> Iterator[str]:
    kind = interface.get("type")
    address = interface.find("source/address")
    source = interface.find("source")
    if kind == "hostdev" and not _replaceable(interface):
        yield f"PCI device {'?' if address is None else _pci(address)} (interface)"
    elif kind == "vdpa":
        yield f"vDPA device {'?' if source is None else source.get('dev', '?')} (interface)"


def _filesystem(filesystem: ET.Element, _shared: SharedStorage) -> Iterator[str]:
    driver = filesystem.find("driver")
    target = filesystem.find("target")
    virtiofs = driver is not None and driver.get("type") == "virtiofs"
    yield f"shared folder {'?' if target is None else target.get('dir', '?')} ({'virtiofs' if virtiofs else '9p'})"


def _shmem(shmem: ET.Element, _shared: SharedStorage) -> Iterator[str]:
    yield f"shared memory {shmem.get('name', '?')} (shmem)"


def _memory(memory: ET.Element, shared: SharedStorage) -> Iterator[str]:
    path = text_at(memory, "source/path")
    if memory.get("model") in {"nvdimm", "virtio-pmem"} and not (path and shared.holds(path)):
        yield f"persistent memory {path or '?'} on local storage"


def _tpm(tpm: ET.Element, _shared: SharedStorage) -> Iterator[str]:
    if tpm.find("backend[@type='passthrough']") is not None:
        yield "TPM of the host (passthrough)"


def _input(device: ET.Element, _shared: SharedStorage) -> Iterator[str]:
    if device.get("type") in {"passthrough", "evdev"}:
        yield f"input device of the host ({device.get('type')})"


def _character(device: ET.Element, _shared: SharedStorage) -> Iterator[str]:
    source = device.find("source")
    if device.get("type") == "dev" and source is not None:
        yield f"{device.tag} device {source.get('path', '?')} of the host"


_LOOK: dict[str, Callable[[ET.Element, SharedStorage], Iterator[str]]] = {
    "disk": _disk,
    "hostdev": _hostdev,
    "interface": _interface,
    "filesystem": _filesystem,
    "shmem": _shmem,
    "memory": _memory,
    "tpm": _tpm,
    "input": _input,
    "serial": _character,
    "parallel": _character,
}


def _bound_clock(root: ET.Element) -> Iterator[str]:
    """A guest that was promised a steady TSC needs one of the same frequency wherever it goes."""
    promised = root.find("cpu/feature[@name='invtsc'][@policy='require']") is not None
    if promised and root.find("clock/timer[@name='tsc'][@frequency]") is None:
        yield "CPU feature invtsc without a TSC frequency (clock/timer)"


def _left_behind(root: ET.Element, shared: SharedStorage) -> Iterator[str]:
    nvram = root.find("os/nvram")
    if nvram is not None and nvram.get("type", "file") != "network":
        source = nvram.find("source")
        path = text_at(root, "os/nvram") or (None if source is None else source.get("file"))
        if not shared.holds(path or _NVRAM_DIRECTORY):
            yield f"firmware variables on local storage: {path or _NVRAM_DIRECTORY}"
    if root.find("devices/tpm/backend[@type='emulator']") is not None and not shared.holds(_VTPM_DIRECTORY):
        yield f"vTPM state on local storage: {_VTPM_DIRECTORY}"


def _replaceable(device: ET.Element) -> bool:
    """A failover pair: libvirt unplugs the device before a migration and the guest keeps its other NIC."""
    teaming = device.find("teaming")
    return teaming is not None and teaming.get("type") == "transient"


def _pci(address: ET.Element) -> str:
    """`0000:3b:00.0`, from numbers written in hexadecimal with or without 0x."""

    def part(key: str, digits: int) -> str:
        text = address.get(key, "0").lower().removeprefix("0x")
        return text.rjust(digits, "0")

    return f"{part('domain', 4)}:{part('bus', 2)}:{part('slot', 2)}.{part('function', 1)}"


def _usb(hostdev: ET.Element) -> str:
    vendor, product = hostdev.find("source/vendor"), hostdev.find("source/product")
    if vendor is not None and product is not None:
        return ":".join(part.get("id", "?").removeprefix("0x") for part in (vendor, product))
    address = hostdev.find("source/address")
    return "?" if address is None else f"{address.get('bus', '?')}.{address.get('device', '?')}"
