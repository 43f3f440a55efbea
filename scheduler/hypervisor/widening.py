"""What in a domain's XML would reach into its host: a place and what stands there, for each. Pure.

A guest's own affairs are known here; everything else counts as reaching into the host, so what libvirt learns later is
not let through by mistake.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from posixpath import isabs, normpath
from xml.etree import ElementTree as ET

from .blockers import SharedStorage
from .xml_text import parse


@dataclass(frozen=True, slots=True)
class Allowed:
    """What of a host any VM may use."""

    directories: tuple[str, ...] = ()
    """Absolute paths; files below them."""
    pools: tuple[str, ...] = ()
    """Names of storage pools, or globs."""


@dataclass(frozen=True, slots=True)
class Widening:
    """Something that reaches into the host. `place` is like `devices/disk[2]/source@file`."""

    place: str
    what: str

    def __str__(self) -> str:
        text = f"{self.place}: {self.what}"
        return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


_WORDS = frozenset({"metadata", "title", "description", "sysinfo", "name", "uuid", "genid", "cmdline"})
"""What they hold means nothing on the host."""
_GUEST = _WORDS | frozenset(
    [
        "memory",
        "currentMemory",
        "maxMemory",
        "memoryBacking",
        "vcpu",
        "vcpus",
        "iothreads",
        "iothreadids",
        "defaultiothread",
        "cputune",
        "memtune",
        "blkiotune",
        "numatune",
        "resource",
        "os",
        "features",
        "cpu",
        "clock",
        "on_poweroff",
        "on_reboot",
        "on_crash",
        "on_lockfailure",
        "pm",
        "perf",
        "devices",
        "seclabel",
        "launchSecurity",
        "bootloader",
        "bootloader_args",
    ]
)
"""Elements of a domain that are looked into no further than for paths and namespaces."""
_FREE_DEVICES = frozenset(
    [
        "emulator",
        "controller",
        "video",
        "memballoon",
        "watchdog",
        "panic",
        "hub",
        "iommu",
        "vsock",
        "lease",
        "nvram",
        "sound",
    ]
)
_CHARACTER = frozenset({"pty", "null", "vc", "spicevmc", "spiceport", "qemu-vdagent"})
_DEVICE_TYPES: dict[str, frozenset[str]] = {
    "disk": frozenset({"file", "block", "dir", "volume", "network"}),
    "interface": frozenset({"network", "bridge"}),
    "graphics": frozenset({"vnc", "spice", "egl-headless"}),
    "input": frozenset({"mouse", "tablet", "keyboard"}),
    "audio": frozenset({"none", "spice"}),
    "serial": _CHARACTER,
    "parallel": _CHARACTER,
    "console": _CHARACTER,
    "channel": _CHARACTER | {"unix"},
    "redirdev": frozenset({"spicevmc"}),
    "smartcard": frozenset({"spicevmc"}),
}
"""Of a device that may be there, the kinds that are the guest's own."""
_MODELS: dict[str, frozenset[str]] = {
    "memory": frozenset({"dimm", "virtio-mem", "nvdimm", "virtio-pmem"}),
    "tpm": frozenset({"tpm-tis", "tpm-crb", "tpm-spapr", "none"}),
    "rng": frozenset({"virtio", "virtio-transitional", "virtio-non-transitional"}),
}
_BACKENDS: dict[str, frozenset[str]] = {"tpm": frozenset({"emulator"}), "rng": frozenset({"random", "builtin"})}
_STORAGE_PROTOCOLS = frozenset({"rbd", "gluster", "iscsi", "nbd", "sheepdog"})
_PATH_ATTRIBUTES = frozenset({"file", "dir", "path", "socket", "template", "tap", "vhost", "rendernode", "keyfile"})
_PATH_TEXTS = frozenset(
    {"kernel", "initrd", "dtb", "loader", "nvram", "emulator", "path", "init", "table", "partition"}
)
_HARMLESS_PATHS = frozenset({"/dev/random", "/dev/urandom", "/dev/hwrng", "/machine"})
_BINARIES = ("/usr/bin/qemu-system-*", "/usr/bin/kvm", "/usr/bin/qemu-kvm", "/usr/libexec/qemu-kvm")
_FIRMWARE = ("/usr/share/OVMF", "/usr/share/AAVMF", "/usr/share/qemu", "/usr/share/edk2", "/usr/share/seabios")
_VARIABLES = ("/var/lib/libvirt/qemu/nvram",)
_CHANNELS = ("/var/lib/libvirt/qemu/channel", "/run/libvirt/qemu/channel")
_KEPT_IN: dict[tuple[str, str], tuple[str, ...]] = {
    ("loader", ""): _FIRMWARE,
    ("nvram", ""): _VARIABLES,
    ("nvram", "template"): _FIRMWARE,
    ("source", "path"): _CHANNELS,
}
"""Directories of libvirt's own, by element and attribute (text: empty)."""


def find_widening(xml: str, allowed: Allowed) -> tuple[Widening, ...]:
    """All of it, in the order of the XML; DefinitionError for what is no domain XML."""
    root = parse(xml, "domain")
    return tuple(_in_domain(root, allowed))


def _in_domain(root: ET.Element, allowed: Allowed) -> Iterator[Widening]:
    if root.get("type", "kvm") not in {"kvm", "qemu"}:
        yield Widening("@type", f"{root.get('type')} is no virtual machine monitor of its own")
    for place, part in _children(root, ""):
        if part.tag not in _GUEST:
            yield Widening(place, _unknown(part))
        elif part.tag == "devices":
            for device_place, device in _children(part, place):
                yield from _device(device, device_place, allowed)
        elif part.tag == "seclabel":
            yield from _label(part, place)
        elif part.tag not in _WORDS:
            yield from _inside(part, place, allowed)


def _device(device: ET.Element, place: str, allowed: Allowed) -> Iterator[Widening]:
    """One line for a device that may not be there at all, else one for each thing in it."""
    if against := _kind(device):
        yield Widening(place, against)
        return
    if device.tag == "disk":
        yield from _disk(device, place, allowed)
    yield from _inside(device, place, allowed)


def _kind(device: ET.Element) -> str:
    """Why such a device reaches into the host; empty when it does not."""
    tag = device.tag
    kinds = _DEVICE_TYPES.get(tag)
    if kinds is not None:
        default = "file" if tag == "disk" else "pty"
        kind = device.get("type", default)
        return "" if kind in kinds else f"{tag} of type {kind}"
    if tag in _MODELS:
        model = device.get("model", next(iter(_MODELS[tag])))
        backends = [backend.get("model") or backend.get("type") or "?" for backend in device.iterfind("backend")]
        for kind in (*([] if model in _MODELS[tag] else [model]), *backends):
            if kind not in _MODELS[tag] | _BACKENDS.get(tag, frozenset()):
                return f"{tag} with {kind}"
        return ""
    return "" if tag in _FREE_DEVICES else _unknown(device)


def _disk(disk: ET.Element, place: str, allowed: Allowed) -> Iterator[Widening]:
    if disk.get("device") == "lun" or disk.get("rawio") == "yes" or disk.get("sgio") == "unfiltered":
        yield Widening(place, "SCSI commands to a device of the host")
    for layer in disk.iter():
        source = layer.find("source")
        if source is None or layer.tag not in {"disk", "backingStore", "mirror", "dataStore"}:
            continue
        kind = layer.get("type", "file")
        pool, protocol = source.get("pool", ""), source.get("protocol", "")
        if kind not in _DEVICE_TYPES["disk"]:
            yield Widening(f"{place}/source", f"storage of type {kind}")
        if kind == "volume" and not any(fnmatchcase(pool, pattern) for pattern in allowed.pools):
            yield Widening(f"{place}/source@pool", f"{pool or 'no pool'} is no pool that any VM may use")
        if kind == "network" and protocol not in _STORAGE_PROTOCOLS:
            yield Widening(f"{place}/source@protocol", f"the host would fetch it by {protocol or 'an unknown way'}")
        if device := source.get("dev"):
            yield from _path(f"{place}/source@dev", device, (), allowed)


def _inside(element: ET.Element, place: str, allowed: Allowed) -> Iterator[Widening]:
    """Paths of the host, and elements past libvirt's own, anywhere below."""
    waiting = [(place, element)]
    while waiting:
        here, each = waiting.pop()
        if "}" in each.tag:
            yield Widening(here, _unknown(each))
            continue
        if each.tag == "seclabel":
            yield from _label(each, here)
        if each.tag in _WORDS:
            continue
        if each.tag in {"vcpusched", "iothreadsched", "emulatorsched"}:
            yield Widening(here, "real-time priority on the host")
        yield from _paths(each, here, allowed)
        waiting.extend(reversed(list(_children(each, here))))


def _paths(element: ET.Element, place: str, allowed: Allowed) -> Iterator[Widening]:
    for key, value in element.items():
        if "}" in key:
            yield Widening(f"{place}@{key.rpartition('}')[2]}", "past libvirt's own checks")
            continue
        looked_at = element.tag == "target" or key == "name" or (element.tag, key) == ("source", "dev")  # by its disk
        if not looked_at and (key in _PATH_ATTRIBUTES or isabs(value.strip())):
            yield from _path(f"{place}@{key}", value, _KEPT_IN.get((element.tag, key), ()), allowed)
    text = (element.text or "").strip()
    if text and (element.tag in _PATH_TEXTS or isabs(text)):
        yield from _path(place, text, _KEPT_IN.get((element.tag, ""), ()), allowed)


def _path(place: str, path: str, also: tuple[str, ...], allowed: Allowed) -> Iterator[Widening]:
    """A relative path means whatever directory libvirtd is in: it is never allowed."""
    if path in _HARMLESS_PATHS or (place.endswith("/emulator") and _is_binary(path)):
        return
    if not isabs(path) or not SharedStorage((*allowed.directories, *also)).holds(path):
        yield Widening(place, f"{path} of the host")


def _is_binary(path: str) -> bool:
    return normpath(path) == path and any(fnmatchcase(path, pattern) and "/.." not in path for pattern in _BINARIES)


def _label(label: ET.Element, place: str) -> Iterator[Widening]:
    own = label.get("type", "dynamic") == "dynamic" and label.get("relabel", "yes") == "yes"
    if not own or label.find("label") is not None or label.find("baselabel") is not None:
        yield Widening(place, "changes how the host confines the guest")


def _unknown(element: ET.Element) -> str:
    if "}" in element.tag:
        return "past libvirt's own checks"
    return f"{element.tag} reaches into the host, or is not known not to"


def _children(element: ET.Element, place: str) -> Iterator[tuple[str, ET.Element]]:
    """The elements in one, each with its place; numbered, from 1, where there are several of a name."""
    tags = Counter(child.tag for child in element)
    seen: dict[str, int] = {}
    for child in element:
        seen[child.tag] = seen.get(child.tag, 0) + 1
        number = f"[{seen[child.tag]}]" if tags[child.tag] > 1 else ""
        name = child.tag.rpartition("}")[2]
        yield (f"{place}/{name}{number}" if place else f"{name}{number}"), child
