"""LibvirtCluster: `cluster.ports.HypervisorCluster` on real libvirt hosts."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress

from ..cluster.model import LocalDisk, VmState
from ..cluster.observation import DomainFacts, DomainObservation, Event, HostObservation
from ..cluster.ports import (
    BusyError,
    CpuAnswer,
    Definition,
    HostAddress,
    HypervisorError,
    Job,
    MemoryPortError,
    MigrationOptions,
    NoHostError,
    PeerError,
    RefusedError,
)
from . import dirty_rate, disk_copy, migration, peer
from .acting import act
from .binding import Connection, libvirt, optional
from .blockers import SharedStorage
from .connection import HostConnection
from .cpu_guests import baseline_guest
from .domain_xml import read_definition
from .inventory import GuestKinds, Inventory
from .session import Session

DIRTY_RATE_READS = 5
DOWNTIME_RETRY_S = 0.1
PROBE_TIMEOUT_S = 10.0


class LibvirtCluster:
    """All hosts' libvirt. Use from one asyncio loop; see `HypervisorCluster` for what each call means.

    `shared_directories`: paths whose contents all hosts see. Disks elsewhere, unless on network disks or in storage
    pools that are shared by their type, are local and keep their domain where it is.
    """

    def __init__(self, shared_directories: Iterable[str] = ()) -> None:
        self._shared_directories = tuple(shared_directories)
        self._kinds = GuestKinds()
        self._hosts: dict[str, HostConnection] = {}
        self._events: asyncio.Queue[Event | None] | None = None

    async def connect(self, address: HostAddress) -> None:
        """Take a host in, or change how it is reached. Returns at once; CONNECTED tells when it is there."""
        known = self._hosts.get(address.name)
        if known is not None:
            if known.address == address:
                return
            await self.disconnect(address.name)
        self._hosts[address.name] = HostConnection(
            address, lambda: Inventory(address.name, self._shared_directories, self._kinds), self._emit
        )

    async def disconnect(self, host: str) -> None:
        """Let a host go; nothing when it is not known."""
        connection = self._hosts.pop(host, None)
        if connection is not None:
            await connection.close()
            self._kinds.forget(host)

    async def close(self) -> None:
        """Let every host go and end `events`. Migrations go on."""
        await asyncio.gather(*(self.disconnect(host) for host in list(self._hosts)))
        if self._events is not None:
            self._events.put_nowait(None)

    def events(self) -> AsyncIterator[Event]:
        """Everything that happens from this call on, until `close`. One consumer: a second call ends the first."""
        if self._events is not None:
            self._events.put_nowait(None)
        self._events = asyncio.Queue()
        return _drain(self._events)

    async def observe(self, host: str) -> HostObservation:
        """The host and all its domains, active and inactive, now. Raises UnreachableError."""
        connection = self._host(host)
        session = connection.session
        look = await session.host_call(session.inventory.observe)
        connection.seen_incoming(frozenset(domain.uuid for domain in look.domains if domain.incoming))
        return look

    async def domain(self, host: str, uuid: str) -> DomainObservation | None:
        """One domain now; None when the host has none of that UUID."""
        session = self._session(host)
        return await session.domain_call(lambda connection: session.inventory.domain(connection, uuid))

    async def compare_cpu(self, host: str, facts: DomainFacts) -> CpuAnswer:
        """Whether `host` can run a guest with that CPU; asked once per CPU and connection."""
        session = self._session(host)
        return await session.host_call(lambda connection: session.inventory.compare_cpu(connection, facts))

    async def host_model_guest(self, host: str, like: DomainFacts | None = None) -> DomainFacts:
        """A guest as it would be once started on `host`."""
        session = self._session(host)
        return await session.host_call(lambda connection: session.inventory.host_model_guest(connection, like))

    async def baseline_guest(self, host: str, guests: Sequence[DomainFacts]) -> DomainFacts:
        """A guest with the largest CPU that all of these contain, by the libvirt of `host`."""
        return await self._session(host).host_call(lambda connection: baseline_guest(connection, guests))

    def read_definition(self, xml: str) -> Definition:
        """Parse a domain XML; DefinitionError when it cannot be used."""
        pools = frozenset[str]().union(*(host.shared_pools for host in self._hosts.values()))
        return read_definition(xml, SharedStorage(self._shared_directories, pools))

    async def domain_xml(self, host: str, uuid: str) -> str:
        """The inactive XML, with its secrets. Raises NotFoundError."""
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        return await self._session(host).domain_call(
            lambda connection: connection.lookupByUUIDString(uuid).XMLDesc(flags)
        )

    async def define(self, host: str, xml: str) -> str:
        """Define a domain; returns its UUID. Raises RefusedError with libvirt's reason."""
        return await act(self._address(host), lambda connection: connection.defineXML(xml).UUIDString())

    async def undefine(self, host: str, uuid: str) -> None:
        """Remove the definition of a stopped domain; disks, firmware variables and vTPM state stay."""
        await act(self._address(host), lambda connection: _undefine(connection, host, uuid))

    async def start(self, host: str, uuid: str) -> None:
        """Start a defined domain; returns when its QEMU runs."""
        await act(self._address(host), lambda connection: connection.lookupByUUIDString(uuid).create())

    async def set_autostart(self, host: str, uuid: str, *, autostart: bool) -> None:
        """Whether the host's libvirt starts the domain at boot."""
        await act(
            self._address(host), lambda connection: connection.lookupByUUIDString(uuid).setAutostart(int(autostart))
        )

    async def migrate(self, uuid: str, source: str, destination: str, options: MigrationOptions) -> None:
        """Migrate live, peer to peer; cancelling stops the waiting only."""
        target = self._address(destination)
        limiting = asyncio.create_task(self._limit_downtime(source, uuid, options.max_downtime_ms))
        try:
            await act(self._address(source), lambda connection: migration.migrate(connection, uuid, target, options))
        finally:
            limiting.cancel()
            await asyncio.wait({limiting})

    async def probe_migration(self, uuid: str, source: str, destination: str, copied: Sequence[LocalDisk] = ()) -> None:
        """Let `source` go towards a migration as far as is harmless; see `peer`.

        Where the destination swallows packets, the source's libvirt tries for minutes; nobody waits so long for it.
        """
        address, target = self._address(source), self._address(destination)
        disks = [disk.target for disk in copied]
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await act(address, lambda connection: peer.probe(connection, source, uuid, target, disks))
        except TimeoutError:
            raise PeerError(source, f"no answer from {target.peer_uri} within {PROBE_TIMEOUT_S:.0f} s") from None
        if copied:
            await act(target, lambda connection: disk_copy.check(connection, destination, copied))

    async def probe_memory_port(self, source: str, destination: str) -> bool:
        """Knock, if a stopped domain is there to do it with: one that runs could not be acted on meanwhile.

        Where packets are swallowed libvirt holds the domain's job for two minutes. Without a migration address libvirt
        chooses where memory is sent, and does not tell beforehand.
        """
        address, target = self._address(source), self._address(destination)
        here, there = await self.observe(source), await self.observe(destination)
        stopped = next((domain.uuid for domain in here.domains if domain.state is VmState.STOPPED), None)
        receives = any(domain.incoming for domain in there.domains)
        if stopped is None or receives or target.migration_address is None:
            return False
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await act(address, lambda connection: peer.knock(connection, source, stopped, target))
        except TimeoutError:
            text = f"no answer from {peer.memory_port(target)} within {PROBE_TIMEOUT_S:.0f} s"
            raise MemoryPortError(source, text) from None
        return True

    async def job(self, host: str, uuid: str) -> Job | None:
        """The domain's running migration; None when it has none."""
        return await self._session(host).domain_call(lambda connection: migration.running_job(connection, uuid))

    async def set_max_downtime(self, host: str, uuid: str, downtime_ms: int) -> None:
        """How long the guest may stand still at the end of its running migration. Raises RefusedError without one."""
        await self._session(host).domain_call(
            lambda connection: migration.set_max_downtime(connection, uuid, downtime_ms)
        )

    async def start_post_copy(self, host: str, uuid: str) -> None:
        """Let the guest run on its destination now. Raises RefusedError when its migration does not allow that."""
        await self._session(host).domain_call(lambda connection: migration.start_post_copy(connection, uuid))

    async def abort_job(self, host: str, uuid: str) -> None:
        """Abort the domain's running migration. Raises RefusedError when it has none."""
        await self._session(host).domain_call(lambda connection: migration.abort(connection, uuid))

    async def sample_dirty_rate(self, host: str, uuid: str) -> float:
        """How many MiB/s of its memory the guest writes, sampled for a second."""
        session = self._session(host)
        await session.domain_call(lambda connection: dirty_rate.begin(connection, uuid))
        for _ in range(DIRTY_RATE_READS):
            await asyncio.sleep(dirty_rate.CALCULATION_S)
            rate = await session.domain_call(lambda connection: dirty_rate.result_mib_per_s(connection, uuid))
            if rate is not None:
                return rate
        raise BusyError(host, "no dirty rate was told")

    async def _limit_downtime(self, host: str, uuid: str, downtime_ms: int) -> None:
        """Set the limit once the migration's job runs; before, libvirt would not take it or forget it."""
        while True:
            await asyncio.sleep(DOWNTIME_RETRY_S)
            with suppress(HypervisorError):
                if await self.job(host, uuid) is not None:
                    await self.set_max_downtime(host, uuid, downtime_ms)
                    return

    def _session(self, host: str) -> Session:
        return self._host(host).session

    def _address(self, host: str) -> HostAddress:
        return self._host(host).address

    def _host(self, host: str) -> HostConnection:
        if host not in self._hosts:
            raise NoHostError(host, "not a host of this cluster")
        return self._hosts[host]

    def _emit(self, event: Event) -> None:
        if self._events is not None:
            self._events.put_nowait(event)


async def _drain(events: "asyncio.Queue[Event | None]") -> AsyncIterator[Event]:
    while (event := await events.get()) is not None:
        yield event


def _undefine(connection: Connection, host: str, uuid: str) -> None:
    domain = connection.lookupByUUIDString(uuid)
    if domain.isActive():
        raise RefusedError(host, f"{domain.name()} is running")
    flags = 0
    xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    if "<nvram" in xml:
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
    if "<tpm" in xml:
        flags |= optional("VIR_DOMAIN_UNDEFINE_KEEP_TPM")
    domain.undefineFlags(flags)
