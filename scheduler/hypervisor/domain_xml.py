"""A domain's XML, read for what a placement must know. Pure: needs no libvirt and no host."""

import uuid as uuids
from xml.etree import ElementTree as ET

from ..cluster.observation import DomainFacts
from ..cluster.ports import Definition, DefinitionError
from .blockers import SharedStorage, find_blockers, find_local_disks
from .xml_text import memory_mib_at, number_at, parse, text_at

NAMESPACE = "urn:virt-scheduler:1"
"""Of the project's element in a domain's `<metadata>`."""

HOST_DEPENDENT_CPU_MODES = frozenset({"host-passthrough", "host-model", "maximum"})
"""`<cpu mode>`s that mean something else on every host, until the guest runs."""

_CPU_PARTS = ("model", "vendor", "feature")


def read_definition(xml: str, shared: SharedStorage) -> Definition:
    """Name, UUID and facts of a domain that is to be defined; DefinitionError when it cannot be."""
    root = parse(xml, "domain")
    name = text_at(root, "name")
    if name is None:
        raise DefinitionError("domain/name is missing or empty")
    return Definition(name=name, uuid=_uuid(root), facts=_facts(root, shared, running=False))


def read_facts(xml: str, shared: SharedStorage, *, running: bool) -> DomainFacts:
    """The facts of a domain that exists. `running`: it is the live XML of an active one."""
    return _facts(parse(xml, "domain"), shared, running=running)


def _facts(root: ET.Element, shared: SharedStorage, *, running: bool) -> DomainFacts:
    memory_mib = memory_mib_at(root, "memory")
    if memory_mib is None:
        raise DefinitionError("domain/memory is missing or empty")
    kind = root.find("os/type")
    labels, autostart = _placement(root)
    cpu = root.find("cpu")
    return DomainFacts(
        vcpus=number_at(root, "vcpu") or 1,
        # <memory> already holds every plugged memory device; <maxMemory> is only the room to plug more.
        memory_mib=memory_mib,
        arch="x86_64" if kind is None else kind.get("arch", "x86_64"),
        virt_type=root.get("type", "kvm"),
        emulator=text_at(root, "devices/emulator"),
        machine_type=None if kind is None else kind.get("machine"),
        cpu_xml=None if cpu is None else cpu_xml(cpu),
        required_cpu_features=_named_features(cpu),
        networks=_networks(root),
        storage=frozenset(
            source.get("pool", "") for source in root.iterfind("devices/disk[@type='volume']/source[@pool]")
        ),
        blockers=find_blockers(root, shared, running=running),
        local_disks=find_local_disks(root, shared),
        tsc_hz=_tsc_hz(root),
        labels=labels,
        placement_autostart=autostart,
    )


def cpu_xml(cpu: ET.Element) -> str:
    """What of a `<cpu>` element decides where the guest can run: mode, model, vendor and features.

    Topology, NUMA cells and caches are the guest's own affair; without them equal CPUs have equal texts.
    """
    kept = ET.Element("cpu", {key: value for key, value in sorted(cpu.items()) if key in {"mode", "match"}})
    for part in cpu:
        if part.tag in _CPU_PARTS:
            child = ET.SubElement(kept, part.tag, dict(sorted(part.items())))
            child.text = (part.text or "").strip() or None
    return ET.tostring(kept, encoding="unicode")


def _named_features(cpu: ET.Element | None) -> frozenset[str] | None:
    """The features that the XML itself demands; those of its CPU model are known to the host's libvirt only.

    None (unknown) for a guest that shows what its host has; empty for the hypervisor's default CPU.
    """
    if cpu is None:
        return frozenset()
    if cpu.get("mode") in HOST_DEPENDENT_CPU_MODES:
        return None
    return frozenset(
        feature.get("name", "") for feature in cpu.iterfind("feature") if feature.get("policy") in {None, "require"}
    )


def _tsc_hz(root: ET.Element) -> int | None:
    """Under emulation QEMU makes the counter itself, at any frequency."""
    timer = root.find("clock/timer[@name='tsc'][@frequency]")
    text = "" if timer is None else timer.get("frequency", "")
    return int(text) if text.isascii() and text.isdigit() and root.get("type") == "kvm" else None


def _networks(root: ET.Element) -> frozenset[str]:
    found = set()
    for interface in root.iterfind("devices/interface"):
        kind = interface.get("type")
        source = interface.find("source")
        name = None if source is None or kind is None else source.get(kind)
        if kind in {"network", "bridge"} and name:
            found.add(f"{kind}:{name}")
    return frozenset(found)


def _placement(root: ET.Element) -> tuple[dict[str, str], bool]:
    """Labels and the wish to be placed: `<placement autostart='yes'><label name='tier' value='db'/></placement>`."""
    placement = root.find(f"metadata/{{{NAMESPACE}}}placement")
    if placement is None:
        return {}, False
    labels = {
        name: label.get("value", "")
        for label in (*placement.iterfind(f"{{{NAMESPACE}}}label"), *placement.iterfind("label"))
        if (name := label.get("name"))
    }
    return labels, placement.get("autostart") == "yes"


def _uuid(root: ET.Element) -> str | None:
    text = text_at(root, "uuid")
    if text is None:
        return None
    try:
        return str(uuids.UUID(text))
    except ValueError:
        raise DefinitionError(f"domain/uuid: {text!r} is not a UUID") from None
