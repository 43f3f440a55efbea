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


_FILE_POOL_TYPES = frozenset({"dir", "fs", "netfs"})


@dataclass(frozen=True, slots=True)
class _StoragePool:
    name: str
    xml: ET.Element

    @property
    def kind(self) -> str:
        return self.xml.get("type", "")

    @property
    def target(self) -> str | None:
        return text_at(self.xml, "target/path")


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
    found = _ask(lambda: connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE))
    pools = None if found is None else [_StoragePool(pool.name(), xml) for pool in found if (xml := _described(pool))]
    facts = HostFacts(
        cpus=int(info[2]),
        memory_mib=int(info[1] if memory is None else memory[0]),
        cpu_features=features,
        cpu_model=None if model is None else cpu.describe(connection, kind, model, features),
        domain_types=None if capabilities is None else domain_types(capabilities),
        machine_types=None if capabilities is None else machine_types(capabilities),
        networks=_networks(connection),
        storage=None if pools is None else _storage(pools),
        tsc_hz=None if capabilities is None else tsc_hz(capabilities),
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


def tsc_hz(capabilities: str) -> int | None:
    """How fast the host's time stamp counter counts; None: unknown, or it is scaled to what a guest wants."""
    counter = ET.fromstring(capabilities).find("host/cpu/counter[@name='tsc']")  # noqa: S314 - made by libvirt itself
    if counter is None or counter.get("scaling") == "yes":
        return None
    frequency = counter.get("frequency", "")
    return int(frequency) if frequency.isdigit() else None


def _described(pool: Pool) -> ET.Element | None:
    xml = _ask(lambda: pool.XMLDesc(0))
    return None if xml is None else ET.fromstring(xml)  # noqa: S314 - made by libvirt itself


def _storage(pools: Iterable[_StoragePool]) -> frozenset[str]:
    """Their names; and as directories those into which libvirt copies a disk that is a file."""
    directories = {pool.target for pool in pools if pool.kind in _FILE_POOL_TYPES and pool.target}
    return frozenset({pool.name for pool in pools} | directories)


def _shared_storage(pools: Iterable[_StoragePool], directories: Iterable[str]) -> SharedStorage:
    shared = SharedStorage(tuple(directories))
    names, targets = set(), []
    for pool in pools:
        if pool.kind in SHARED_POOL_TYPES or (pool.target and shared.holds(pool.target)):
            names.add(pool.name)
            # A mounted pool's files are used by path as well; /dev, where block pools appear, is not theirs alone.
            if pool.kind in {"netfs", "vstorage"} and pool.target:
                targets.append(pool.target)
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
