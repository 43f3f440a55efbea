"""Guests described by their CPU alone: what a host gives a host-model guest, and the CPU that several guests share."""

from collections.abc import Sequence
from dataclasses import replace

from ..cluster.observation import DomainFacts
from . import cpu
from .binding import Connection, optional
from .domain_xml import HOST_DEPENDENT_CPU_MODES
from .xml_text import text_at

_HOST_MODEL = "<cpu mode='host-model'/>"


def host_model_guest(connection: Connection, like: DomainFacts | None, virt_type: str | None) -> DomainFacts | None:
    """A guest as it would be once started on this host; None when the host does not tell its CPU.

    `like` is the guest that would start; without it, a host-model guest of the host's default emulator and machine
    type for `virt_type` (None: the host's default). A guest whose CPU does not depend on its host stays as it is.
    """
    kind = cpu.HypervisorKind(virt_type=virt_type) if like is None else cpu.HypervisorKind.of(like)
    cpu_xml = _HOST_MODEL if like is None else like.cpu_xml or ""
    if like is not None and (not cpu_xml or cpu.mode(cpu_xml) not in HOST_DEPENDENT_CPU_MODES):
        return like
    capabilities = cpu.capabilities(connection, kind)
    host_model = None if capabilities is None else cpu.host_model_in(capabilities)
    if capabilities is None or host_model is None:
        return None
    guest = like or DomainFacts(
        vcpus=1,
        memory_mib=1,
        arch=text_at(capabilities, "arch") or "x86_64",
        virt_type=text_at(capabilities, "domain") or "kvm",
        machine_type=text_at(capabilities, "machine"),
    )
    given = host_model if cpu.mode(cpu_xml) == "host-model" else cpu.strict(host_model)
    return replace(guest, cpu_xml=given, required_cpu_features=cpu.expand(connection, kind, host_model))


def baseline_guest(connection: Connection, guests: Sequence[DomainFacts]) -> DomainFacts:
    """A guest with the largest CPU that all of `guests`, which are of one kind, contain. Raises LibvirtError.

    Features that would bind a guest to its host are left out of it.
    """
    kind = cpu.HypervisorKind.of(guests[0]).loosened
    cpu_xml = connection.baselineHypervisorCPU(
        kind.emulator,
        kind.arch,
        kind.machine,
        kind.virt_type,
        [guest.cpu_xml or "" for guest in guests],
        optional("VIR_CONNECT_BASELINE_CPU_MIGRATABLE"),
    )
    cpu_xml = cpu_xml.strip()
    return replace(guests[0], cpu_xml=cpu_xml, required_cpu_features=cpu.expand(connection, kind, cpu_xml))
