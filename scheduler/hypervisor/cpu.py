"""CPUs of guests against CPUs of hosts, by the answers of the hosts' own libvirt."""

import re
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from ..cluster.observation import DomainFacts
from ..cluster.ports import CpuAnswer
from .binding import Connection, LibvirtError, libvirt
from .domain_xml import HOST_DEPENDENT_CPU_MODES
from .errors import code_of, connection_broken, domain_of

_MISSING = re.compile(r"required features: *(?P<names>[\w.,: +-]+?)\s*$", re.MULTILINE)
IDENTICAL_CPU = "a CPU identical to the one it runs on (host-passthrough)"
"""Stands for a feature where a guest that was given its host's whole CPU meets another one."""

_GENERIC_MODELS = frozenset({"kvm64", "kvm32", "qemu64", "qemu32"})


@dataclass(frozen=True, slots=True)
class HypervisorKind:
    """For which hypervisor a CPU question is asked; None means the host's default."""

    emulator: str | None = None
    arch: str | None = None
    machine: str | None = None
    virt_type: str | None = None

    @classmethod
    def of(cls, facts: DomainFacts) -> "HypervisorKind":
        """The kind that runs this domain."""
        return cls(facts.emulator, facts.arch, facts.machine_type, facts.virt_type)

    @property
    def loosened(self) -> "HypervisorKind":
        """The same for any emulator and machine: neither path need exist on another host."""
        return HypervisorKind(None, self.arch, None, self.virt_type)


def compare(connection: Connection, facts: DomainFacts) -> CpuAnswer:
    """Whether this host can run a guest with that CPU, and what it lacks."""
    if facts.cpu_xml is None or mode(facts.cpu_xml) in HOST_DEPENDENT_CPU_MODES:
        return CpuAnswer(compatible=True)  # the hypervisor's default CPU, or one made of whatever host it starts on
    kind = HypervisorKind.of(facts)
    try:
        return _compare(connection, kind, facts.cpu_xml)
    except LibvirtError as error:
        _raise_if_broken(error)
    try:
        return _compare(connection, kind.loosened, facts.cpu_xml)
    except LibvirtError as error:
        _raise_if_broken(error)
        return CpuAnswer(compatible=None, text=str(error))


def _compare(connection: Connection, kind: HypervisorKind, cpu_xml: str) -> CpuAnswer:
    try:
        answer = connection.compareHypervisorCPU(
            kind.emulator,
            kind.arch,
            kind.machine,
            kind.virt_type,
            cpu_xml,
            libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE,
        )
    except LibvirtError as error:
        unknown_model = (code_of(error), domain_of(error)) == (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_CPU)
        if code_of(error) != libvirt.VIR_ERR_CPU_INCOMPATIBLE and not unknown_model:
            raise
        return read_incompatibility(str(error), cpu_xml)
    if answer == libvirt.VIR_CPU_COMPARE_INCOMPATIBLE:
        return read_incompatibility("", cpu_xml)
    return CpuAnswer(compatible=True)


def read_incompatibility(text: str, cpu_xml: str) -> CpuAnswer:
    """The features named in libvirt's message, and its last clause."""
    found = _MISSING.search(text)
    names = frozenset(found["names"].replace(",", " ").split()) if found else frozenset()
    clause = text.rsplit(": ", maxsplit=1)[-1].strip()
    if not names and ET.fromstring(cpu_xml).get("match") == "strict":  # noqa: S314 - rebuilt by `domain_xml.cpu_xml`
        clause = IDENTICAL_CPU
    clause = clause or f"CPU model {model_name(cpu_xml) or 'of the guest'}"
    return CpuAnswer(compatible=False, missing=names, text=clause)


def host_model(connection: Connection, kind: HypervisorKind) -> str | None:
    """The CPU that this host gives a host-model guest, as a guest's `<cpu>`; None when it does not tell."""
    found = capabilities(connection, kind)
    return None if found is None else host_model_in(found)


def host_model_in(capabilities: ET.Element) -> str | None:
    """The same, from domain capabilities that were asked for already."""
    mode = capabilities.find("cpu/mode[@name='host-model']")
    if mode is None or mode.find("model") is None:
        return None
    cpu = ET.Element("cpu", {"mode": "custom", "match": "exact"})
    cpu.extend(part for part in mode if part.tag in {"model", "vendor", "feature"})
    return ET.tostring(cpu, encoding="unicode")


def expand(connection: Connection, kind: HypervisorKind, cpu_xml: str) -> frozenset[str] | None:
    """All features of a CPU, those of its model included, as far as this host can give them; None: it cannot tell."""
    expanded = _expanded(connection, kind, cpu_xml)
    return None if expanded is None else frozenset(name for name, given in _features(expanded).items() if given)


def describe(
    connection: Connection, kind: HypervisorKind, host_model: str, features: frozenset[str] | None
) -> str | None:
    """The name of the CPU model that people know this host by.

    Under emulation libvirt's own choice is a generic one, whatever the features; then it is the model that differs in
    the fewest.
    """
    name = model_name(host_model)
    found = capabilities(connection, kind) if name in _GENERIC_MODELS else None
    if found is None or features is None:
        return name
    fewest = len(features)
    for model in found.iterfind("cpu/mode[@name='custom']/model"):
        if model.text is None or model.text in _GENERIC_MODELS:
            continue
        expanded = _expanded(connection, kind, f"<cpu mode='custom' match='exact'><model>{model.text}</model></cpu>")
        # Of a model far beyond the host libvirt makes another one.
        if expanded is None or expanded.findtext("model") != model.text:
            continue
        theirs = _features(expanded)
        differences = sum(not given for given in theirs.values()) + len(features - theirs.keys())
        if differences < fewest:
            name, fewest = model.text, differences
    return name


def capabilities(connection: Connection, kind: HypervisorKind) -> ET.Element | None:
    """What the host offers domains of this kind; None when it cannot tell."""
    try:
        xml = connection.getDomainCapabilities(kind.emulator, kind.arch, kind.machine, kind.virt_type)
    except LibvirtError as error:
        _raise_if_broken(error)
        return None
    return ET.fromstring(xml)  # noqa: S314 - made by libvirt itself


def _expanded(connection: Connection, kind: HypervisorKind, cpu_xml: str) -> ET.Element | None:
    """The CPU with every feature written out, those this host cannot give as disabled; None: it cannot tell."""
    try:
        xml = connection.baselineHypervisorCPU(
            kind.emulator,
            kind.arch,
            kind.machine,
            kind.virt_type,
            [cpu_xml],
            libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES,
        )
    except LibvirtError as error:
        _raise_if_broken(error)
        return None
    return ET.fromstring(xml)  # noqa: S314 - made by libvirt itself


def _features(expanded: ET.Element) -> dict[str, bool]:
    """Each feature, and whether the guest gets it."""
    return {
        feature.get("name", ""): feature.get("policy") in {None, "require", "force"}
        for feature in expanded.iterfind("feature")
    }


def strict(cpu_xml: str) -> str:
    """The same CPU, to be matched by an identical host only."""
    cpu = ET.fromstring(cpu_xml)  # noqa: S314 - made by `host_model`
    cpu.set("match", "strict")
    return ET.tostring(cpu, encoding="unicode")


def model_name(cpu_xml: str) -> str | None:
    """The name of the CPU model, `Haswell-noTSX`."""
    return (ET.fromstring(cpu_xml).findtext("model") or "").strip() or None  # noqa: S314 - our own or libvirt's


def mode(cpu_xml: str) -> str | None:
    """The `mode` of a `<cpu>`, `custom` or `host-passthrough` say."""
    return ET.fromstring(cpu_xml).get("mode")  # noqa: S314 - rebuilt by `domain_xml.cpu_xml`


def _raise_if_broken(error: Exception) -> None:
    if connection_broken(code_of(error), domain_of(error)):
        raise error
