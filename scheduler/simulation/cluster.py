"""A cluster in memory that implements HypervisorCluster: VMs with demand, migrations that take time, and faults.

Nothing happens but by the clock and the calls, so that a test or a replay sees the same each time.
"""

import asyncio
import uuid as uuids
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from ..cluster.model import LocalDisk, VmState
from ..cluster.observation import DomainFacts, DomainObservation, Event, EventKind, HostObservation
from ..cluster.ports import (
    BusyError,
    CpuAnswer,
    Definition,
    HostAddress,
    Job,
    MemoryPortError,
    MigrationOptions,
    NoHostError,
    NotFoundError,
    PeerError,
    RefusedError,
    UnreachableError,
)
from ..hypervisor.blockers import SharedStorage
from ..hypervisor.domain_xml import read_definition
from . import cpu
from .host import CALL_TIMEOUT_SECONDS, SAMPLING_SECONDS, Domain, SimulatedHost
from .transfer import Transfer
from .world import World


class SimulatedCluster(World):
    """The world as its hosts' libvirt shows it."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        super().__init__(clock, sleep)
        self.shared_storage = SharedStorage()

    async def connect(self, address: HostAddress) -> None:
        """See HypervisorCluster; a host that was never added stays unreachable."""
        if address.name in self._hosts:
            self._hosts[address.name].connected = True
            if not self._hosts[address.name].unreachable:
                self._emit(address.name, EventKind.CONNECTED)

    async def disconnect(self, host: str) -> None:
        """See HypervisorCluster."""
        if host in self._hosts:
            self._hosts[host].connected = False

    async def close(self) -> None:
        """See HypervisorCluster."""
        for host in self._hosts:
            await self.disconnect(host)

    def events(self) -> AsyncIterator[Event]:
        """See HypervisorCluster."""
        self._events = asyncio.Queue()
        return _each_of(self._events)

    async def observe(self, host: str) -> HostObservation:
        """See HypervisorCluster."""
        return (await self._reach(host)).observed(self._clock())

    async def domain(self, host: str, uuid: str) -> DomainObservation | None:
        """See HypervisorCluster."""
        found = await self._reach(host)
        found.count_until(self._clock())
        domain = found.domains.get(uuid)
        return None if domain is None else domain.observed()

    async def compare_cpu(self, host: str, facts: DomainFacts) -> CpuAnswer:
        """See HypervisorCluster."""
        return cpu.compare(await self._reach(host), facts)

    async def host_model_guest(self, host: str, like: DomainFacts | None = None) -> DomainFacts:
        """See HypervisorCluster."""
        return cpu.host_model_guest(await self._reach(host), like)

    async def baseline_guest(self, host: str, guests: Sequence[DomainFacts]) -> DomainFacts:
        """See HypervisorCluster."""
        return cpu.baseline_guest(await self._reach(host), guests)

    def read_definition(self, xml: str) -> Definition:
        """See HypervisorCluster."""
        return read_definition(xml, self.shared_storage)

    async def domain_xml(self, host: str, uuid: str) -> str:
        """See HypervisorCluster."""
        domain = self._domain(await self._reach(host), uuid)
        if domain.xml is not None:
            return domain.xml
        raise NotFoundError(host, f"{domain.name} is transient")

    async def define(self, host: str, xml: str) -> str:
        """See HypervisorCluster."""
        found = await self._reach(host)
        definition = self.read_definition(xml)
        uuid = definition.uuid or str(uuids.uuid5(uuids.NAMESPACE_OID, definition.name))
        clash = next((d for d in found.domains.values() if d.name == definition.name and d.uuid != uuid), None)
        if clash is not None:
            raise RefusedError(host, f"domain '{clash.name}' already exists with uuid {clash.uuid}")
        self._facts.setdefault(uuid, definition.facts)
        self._define(found, uuid, definition.name, xml)
        return uuid

    async def undefine(self, host: str, uuid: str) -> None:
        """See HypervisorCluster."""
        found = await self._reach(host)
        domain = self._domain(found, uuid)
        if domain.state is not VmState.STOPPED:
            raise RefusedError(host, f"{domain.name} is active")
        if found.undefine_error:
            raise RefusedError(host, found.undefine_error)
        del found.domains[uuid]
        self._emit(host, EventKind.UNDEFINED, uuid, domain.name, "removed")

    async def start(self, host: str, uuid: str) -> None:
        """See HypervisorCluster."""
        found = await self._reach(host)
        domain = self._domain(found, uuid)
        if domain.state is not VmState.STOPPED:
            raise RefusedError(host, f"{domain.name} is already running")
        if found.start_seconds:
            await self._sleep(found.start_seconds)
            await self._reach(host)
        if found.start_error:
            raise RefusedError(host, found.start_error)
        self._boot(found, uuid)

    async def set_autostart(self, host: str, uuid: str, *, autostart: bool) -> None:
        """See HypervisorCluster."""
        domain = self._domain(await self._reach(host), uuid)
        if not domain.persistent:
            raise RefusedError(host, f"{domain.name} is transient")
        domain.autostart = autostart

    async def migrate(self, uuid: str, source: str, destination: str, options: MigrationOptions) -> None:
        """See HypervisorCluster. It goes on when the caller is cancelled or loses the source."""
        found = await self._reach(source)
        domain = self._domain(found, uuid)
        if domain.state is VmState.STOPPED:
            raise RefusedError(source, f"{domain.name} is not running")
        if uuid in self._transfers:
            raise BusyError(source, f"{domain.name} is already migrating")
        target = self._hosts.get(destination)
        if target is None or target.unreachable or target.frozen:
            raise RefusedError(source, f"unable to connect to server at {destination}")
        if target.receive_error:
            raise RefusedError(source, target.receive_error)
        if uuid in target.domains and target.domains[uuid].state is not VmState.STOPPED:
            raise RefusedError(source, f"domain '{domain.name}' is already active on {destination}")
        bandwidth = min(options.bandwidth_mib_per_s or self.link_mib_per_s, self.link_mib_per_s)
        bandwidth *= self.burden.bandwidth_factor()
        transfer = Transfer.of(domain, source, destination, options, bandwidth, self._clock())
        self._transfers[uuid] = transfer
        transfer.task = asyncio.create_task(self._carry(transfer), name=f"simulated-migration-{domain.name}")
        # Nobody may be left to hear how it ended.
        transfer.ended.add_done_callback(asyncio.Future.exception)
        await asyncio.shield(transfer.ended)
        await self._reach(source)

    async def probe_migration(
        self,
        uuid: str,
        source: str,
        destination: str,
        copied: Sequence[LocalDisk] = (),  # noqa: ARG002 - has no disks
    ) -> None:
        """See HypervisorCluster."""
        self._domain(await self._reach(source), uuid)
        if why := self._hosts[destination].unreachable or self._hosts[destination].peer_error:
            raise PeerError(source, f"unable to connect to server at {destination}: {why}")

    async def probe_memory_port(self, source: str, destination: str) -> bool:
        """See HypervisorCluster."""
        await self._reach(source)
        if why := self._hosts[destination].port_error:
            raise MemoryPortError(source, why)
        return True

    async def job(self, host: str, uuid: str) -> Job | None:
        """See HypervisorCluster."""
        await self._reach(host)
        transfer = self._transfers.get(uuid)
        if transfer is None or host not in {transfer.source, transfer.destination}:
            return None
        return transfer.job(self._clock(), outgoing=host == transfer.source)

    async def set_max_downtime(self, host: str, uuid: str, downtime_ms: int) -> None:
        """See HypervisorCluster."""
        (await self._transfer(host, uuid)).max_downtime_ms = downtime_ms

    async def start_post_copy(self, host: str, uuid: str) -> None:
        """See HypervisorCluster."""
        transfer = await self._transfer(host, uuid)
        if not transfer.options.post_copy:
            raise RefusedError(host, "post-copy is not allowed for this migration")
        transfer.post_copy = True

    async def abort_job(self, host: str, uuid: str) -> None:
        """See HypervisorCluster."""
        transfer = await self._transfer(host, uuid)
        if transfer.post_copy:
            raise RefusedError(host, "cannot abort migration in post-copy mode")
        transfer.cancel("operation aborted: migration job: canceled by client")

    async def sample_dirty_rate(self, host: str, uuid: str) -> float:
        """See HypervisorCluster."""
        found = await self._reach(host)
        if found.sampling_error:
            raise RefusedError(host, found.sampling_error)
        await self._sleep(SAMPLING_SECONDS)
        return self._domain(found, uuid).guest.dirty_mib_per_s * self.burden.sampling_factor()

    async def _transfer(self, host: str, uuid: str) -> Transfer:
        await self._reach(host)
        transfer = self._transfers.get(uuid)
        if transfer is None:
            raise RefusedError(host, "no job is active on the domain")
        return transfer

    async def _reach(self, name: str) -> SimulatedHost:
        host = self._hosts.get(name)
        if host is None or not host.connected:
            raise NoHostError(name, "not a host of this cluster")
        if host.frozen:
            await self._sleep(CALL_TIMEOUT_SECONDS)
            raise UnreachableError(name, f"no answer within {CALL_TIMEOUT_SECONDS:.0f} s")
        if host.unreachable:
            raise UnreachableError(name, host.unreachable)
        return host

    def _domain(self, host: SimulatedHost, uuid: str) -> Domain:
        if uuid not in host.domains:
            raise NotFoundError(host.name, f"no domain with uuid {uuid}")
        return host.domains[uuid]


async def _each_of(events: asyncio.Queue[Event]) -> AsyncIterator[Event]:
    while True:
        yield await events.get()
