"""What a host is and has: CPUs, memory, CPU model and features, machine types, networks, storage pools."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar
from xml.etree import ElementTree as ET

from ..cluster.observation import HostFacts
from . import cpu
from .binding import Connection, LibvirtError, Pool, libvirt
from .blockers import SharedStorage
from .errors import code_of, connection_broken, domain_of
from .statistics import host_memory_mib
from .xml_text import text_at

Answer = TypeVar("Answer")

SHARED_POOL_TYPES = frozenset({"netfs", "gluster", "rbd", "iscsi", "iscsi-direct", "sheepdog", "vstorage"})
"""Pools whose contents every host sees that has the pool."""


@dataclass(frozen=True, slots=True)
class HostInventory:
    """The facts of a host, and which storage on it is shared."""

    facts: HostFacts
    shared: SharedStorage


def read_host(connection: Connection, shared_directories: Iterable[str], kind: cpu.HypervisorKind) -> HostInventory:
    """Ask a host for everything that seldom changes, its CPU as guests of `kind` see it. What it cannot tell: None."""
    info = connection.getInfo()
    memory = host_memory_mib(connection)
    capabilities = _ask(connection.getCapabilities)
    model = cpu.host_model(connection, kind)
    features = None if model is None else cpu.expand(connection, kind, model)
    pools = _ask(lambda: connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE))
    facts = HostFacts(
        cpus=int(info[2]),
        memory_mib=int(info[1] if memory is None else memory[0]),
        cpu_features=features,
        cpu_model=None if model is None else cpu.describe(connection, kind, model, features),
        domain_types=None if capabilities is None else domain_types(capabilities),
        machine_types=None if capabilities is None else machine_types(capabilities),
        networks=_networks(connection),
        storage=None if pools is None else frozenset(pool.name() for pool in pools),
        uuid="" if capabilities is None else host_uuid(capabilities),
        hypervisor_version=_version(_ask(connection.getVersion)),
        libvirt_version=_version(_ask(connection.getLibVersion)),
    )
    return HostInventory(facts, _shared_storage(pools or [], shared_directories))


def host_uuid(capabilities: str) -> str:
    """By which libvirt knows the host; it refuses to migrate to one with the same."""
    return text_at(ET.fromstring(capabilities), "host/uuid") or ""  # noqa: S314 - made by libvirt itself


def domain_types(capabilities: str) -> frozenset[str] | None:
    """How the host runs guests of its own architecture: `qemu`, and `kvm` where its hardware and kernel can."""
    root = ET.fromstring(capabilities)  # noqa: S314 - made by libvirt itself, never holds a DOCTYPE
    host_arch = text_at(root, "host/cpu/arch")
    arches = [arch for arch in root.iterfind("guest/arch") if arch.get("name") == host_arch]
    return frozenset(kind for arch in arches for domain in arch.iter("domain") if (kind := domain.get("type"))) or None


def machine_types(capabilities: str) -> frozenset[str] | None:
    """All machine types, short names (`pc`) and full ones, that the host's emulators know for its own architecture."""
    root = ET.fromstring(capabilities)  # noqa: S314 - made by libvirt itself, never holds a DOCTYPE
    host_arch = text_at(root, "host/cpu/arch")
    found = {
        name
        for arch in root.iterfind("guest/arch")
        if arch.get("name") == host_arch
        for machine in arch.iter("machine")
        for name in (machine.text, machine.get("canonical"))
        if name
    }
    return frozenset(found) or None


def _networks(connection: Connection) -> frozenset[str] | None:
    """Networks, and every network interface as a possible bridge.

    libvirt's list of interfaces does not know Open vSwitch bridges as bridges, so an interface of any kind counts;
    without an interface driver bridges are unknown, and then nothing may be refused for want of one.
    """
    networks = _ask(lambda: connection.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE))
    interfaces = _ask(lambda: connection.listAllInterfaces(0))
    if networks is None or interfaces is None:
        return None
    return frozenset(
        {f"network:{network.name()}" for network in networks}
        | {f"bridge:{interface.name()}" for interface in interfaces}
    )


def _shared_storage(pools: Iterable[Pool], directories: Iterable[str]) -> SharedStorage:
    shared = SharedStorage(tuple(directories))
    names, targets = set(), []
    for pool in pools:
        xml = _ask(lambda pool=pool: pool.XMLDesc(0))  # type: ignore[misc]
        if xml is None:
            continue
        root = ET.fromstring(xml)  # noqa: S314 - made by libvirt itself
        target = text_at(root, "target/path")
        if root.get("type") in SHARED_POOL_TYPES or (target and shared.holds(target)):
            names.add(pool.name())
            # A mounted pool's files are used by path as well; /dev, where block pools appear, is not theirs alone.
            if root.get("type") in {"netfs", "vstorage"} and target:
                targets.append(target)
    return SharedStorage((*shared.directories, *targets), frozenset(names))


def _ask(question: Callable[[], Answer]) -> Answer | None:
    """The answer; None when this host cannot tell. A broken connection is no answer."""
    try:
        return question()
    except LibvirtError as error:
        if connection_broken(code_of(error), domain_of(error)):
            raise
        return None


def _version(number: int | None) -> str:
    if number is None:
        return ""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
