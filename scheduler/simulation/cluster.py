"""A cluster in memory that implements HypervisorCluster: VMs with demand, migrations that take time, and faults.

Nothing happens but by the clock and the calls, so that a test or a replay sees the same each time. Methods beyond the
protocol are for those who set the scene: `add_host`, `add_vm`, and the faults, as fields of `host(name)`.
"""

import asyncio
import uuid as uuids
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

from ..cluster.model import VmState
from ..cluster.observation import DomainFacts, DomainObservation, Event, EventKind, HostFacts, HostObservation
from ..cluster.ports import (
    BusyError,
    CpuAnswer,
    Definition,
    HostAddress,
    Job,
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
from .host import CALL_TIMEOUT_SECONDS, SAMPLING_SECONDS, Domain, Guest, SimulatedHost, bare_xml
from .transfer import Burden, Transfer


class SimulatedCluster:
    """Hosts in memory. `link_mib_per_s` is what a migration gets unless it is capped."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self.link_mib_per_s = 100.0
        self.burden = Burden()
        self.shared_storage = SharedStorage()
        self.history: list[Event] = []
        """All events so far."""
        self._clock = clock
        self._sleep = sleep
        self._hosts: dict[str, SimulatedHost] = {}
        self._facts: dict[str, DomainFacts] = {}
        self._guests: dict[str, Guest] = {}
        self._transfers: dict[str, Transfer] = {}
        self._events: asyncio.Queue[Event] | None = None

    # Setting the scene

    def add_host(self, name: str, facts: HostFacts) -> SimulatedHost:
        """A new host without VMs."""
        self._hosts[name] = SimulatedHost(name=name, facts=facts, counted_until_s=self._clock())
        return self._hosts[name]

    def host(self, name: str) -> SimulatedHost:
        """A host, to look into or to break."""
        return self._hosts[name]

    def add_vm(self, host: str, name: str, facts: DomainFacts, *, uuid: str | None = None, running: bool = True) -> str:
        """A VM that is defined on a host, straight from its facts; returns its UUID."""
        uuid = uuid or str(uuids.uuid5(uuids.NAMESPACE_OID, name))
        self._facts[uuid] = facts
        self._define(self._hosts[host], uuid, name, bare_xml(uuid, name, facts))
        if running:
            self._boot(self._hosts[host], uuid)
        return uuid

    def guest(self, uuid: str) -> Guest:
        """What a VM does. To be changed after `count`, or with `set_demand`, so that the counters see the change."""
        return self._guests[uuid]

    def set_demand(self, uuid: str, cores: float) -> None:
        """From now on the VM wants that many cores."""
        self.count()
        self._guests[uuid].demand_cores = cores

    def cut(self, host: str, why: str = "connection refused") -> None:
        """Nobody reaches the host's libvirt any more; its guests and migrations go on."""
        self._hosts[host].unreachable = why
        self._emit(host, EventKind.DISCONNECTED, detail=why)

    def restore(self, host: str) -> None:
        """End `cut` and a freeze."""
        self._hosts[host].unreachable, self._hosts[host].frozen = "", False
        self._emit(host, EventKind.CONNECTED)

    def end_guest(self, host: str, uuid: str, *, crashed: bool = False) -> None:
        """The guest shuts itself down, or crashes."""
        if transfer := self._transfers.get(uuid):
            transfer.cancel("domain is not running")
        self._stop(self._hosts[host], uuid)
        kind, detail = (EventKind.CRASHED, "crashed") if crashed else (EventKind.STOPPED, "shut down")
        self._emit(host, kind, uuid, detail=detail)

    def running_on(self, uuid: str) -> list[str]:
        """All hosts on which the VM is active and not merely arriving."""
        return [
            host.name
            for host in self._hosts.values()
            if (domain := host.domains.get(uuid)) and domain.state is not VmState.STOPPED and not domain.incoming
        ]

    def defined_on(self, uuid: str) -> list[str]:
        """All hosts that hold a definition of the VM."""
        return [host.name for host in self._hosts.values() if (domain := host.domains.get(uuid)) and domain.persistent]

    # The protocol

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
        transfer = Transfer.of(domain, source, destination, options, bandwidth, self._clock())
        self._transfers[uuid] = transfer
        transfer.task = asyncio.create_task(self._carry(transfer), name=f"simulated-migration-{domain.name}")
        # Nobody may be left to hear how it ended.
        transfer.ended.add_done_callback(asyncio.Future.exception)
        await asyncio.shield(transfer.ended)
        await self._reach(source)

    async def probe_migration(self, uuid: str, source: str, destination: str) -> None:
        """See HypervisorCluster."""
        self._domain(await self._reach(source), uuid)
        if why := self._hosts[destination].unreachable or self._hosts[destination].peer_error:
            raise PeerError(source, f"unable to connect to server at {destination}: {why}")

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
        return self._domain(found, uuid).guest.dirty_mib_per_s

    # How it works

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

    def _define(self, host: SimulatedHost, uuid: str, name: str, xml: str) -> None:
        known, guest = host.domains.get(uuid), self._guests.setdefault(uuid, Guest())
        if known is not None:
            known.xml = xml
        else:
            host.domains[uuid] = Domain(uuid=uuid, name=name, facts=self._facts[uuid], guest=guest, xml=xml)
        self._emit(host.name, EventKind.DEFINED, uuid, name, "added" if known is None else "updated")

    def _boot(self, host: SimulatedHost, uuid: str) -> None:
        self.count()
        host.boot(host.domains[uuid])
        self._emit(host.name, EventKind.STARTED, uuid, detail="booted")

    def _stop(self, host: SimulatedHost, uuid: str) -> None:
        self.count()
        domain = host.domains[uuid]
        domain.state, domain.domain_id, domain.incoming = VmState.STOPPED, None, False
        if not domain.persistent:
            del host.domains[uuid]

    async def _carry(self, transfer: Transfer) -> None:
        target, uuid = self._hosts[transfer.destination], transfer.uuid
        domain = self._hosts[transfer.source].domains[uuid]
        was_paused = domain.state is VmState.PAUSED
        stale = target.domains.get(uuid)
        self.count()
        arriving = Domain(uuid=uuid, name=domain.name, facts=domain.facts, guest=domain.guest, xml=None, incoming=True)
        target.domains[uuid] = arriving
        target.boot(arriving)
        arriving.state = VmState.PAUSED
        self._carrying(transfer, domain, 1)
        self._emit(target.name, EventKind.CHANGED, uuid, detail="migration coming in")

        breaks_at = self.burden.breaks_at() if target.receive_breaks_at is None else target.receive_breaks_at
        try:
            await transfer.copy(self._clock, self._sleep, partial(self._on_pass, transfer), breaks_at)
        except asyncio.CancelledError:
            self._give_up(transfer, stale, transfer.cancelled_because)
            return
        except ConnectionError as error:
            self._give_up(transfer, stale, str(error))
            return
        finally:
            self._carrying(transfer, domain, -1)
        self._hand_over(transfer, domain, arriving, paused=was_paused)

    def _on_pass(self, transfer: Transfer, number: int) -> None:
        self._emit(transfer.source, EventKind.MIGRATION_ITERATION, transfer.uuid, detail=str(number))

    def _carrying(self, transfer: Transfer, domain: Domain, sign: int) -> None:
        self.count()
        for name in (transfer.source, transfer.destination):
            self._hosts[name].own_load_cores += sign * self.burden.host_cores
        domain.slowed_ratio += sign * self.burden.guest_ratio

    def _give_up(self, transfer: Transfer, stale: Domain | None, failure: str) -> None:
        del self._transfers[transfer.uuid]
        target = self._hosts[transfer.destination]
        self._emit(target.name, EventKind.STOPPED, transfer.uuid, detail="incoming migration given up")
        del target.domains[transfer.uuid]
        if stale is not None:
            target.domains[transfer.uuid] = stale
        self._end(transfer, success=False)
        transfer.ended.set_exception(RefusedError(transfer.source, failure))

    def _hand_over(self, transfer: Transfer, domain: Domain, arriving: Domain, *, paused: bool) -> None:
        """The order of events is that seen with libvirt 9.0."""
        source, target, uuid = self._hosts[transfer.source], self._hosts[transfer.destination], transfer.uuid
        del self._transfers[uuid]
        self._emit(source.name, EventKind.SUSPENDED, uuid, detail="migrating")
        self.count()
        if transfer.options.persistent:
            arriving.xml, domain.xml = domain.xml, None
            self._emit(target.name, EventKind.DEFINED, uuid, detail="added")
        arriving.incoming = False
        arriving.state = VmState.PAUSED if paused else VmState.RUNNING
        self._emit(target.name, EventKind.MIGRATED_IN, uuid, detail="migrated")
        self._emit(source.name, EventKind.MIGRATED_OUT, uuid, detail="migrated")
        self._stop(source, uuid)
        self._end(transfer, success=True)
        transfer.ended.set_result(None)

    def _end(self, transfer: Transfer, *, success: bool) -> None:
        stats = transfer.statistics(self._clock(), success=success)
        self._emit(transfer.source, EventKind.JOB_COMPLETED, transfer.uuid, stats=stats)

    def count(self) -> None:
        """Bring all counters up to now; to be called before what guests do is changed."""
        for host in self._hosts.values():
            host.count_until(self._clock())

    def _emit(
        self,
        host: str,
        kind: EventKind,
        uuid: str = "",
        name: str = "",
        detail: str = "",
        stats: dict[str, int | float | str] | None = None,
    ) -> None:
        domain = self._hosts[host].domains.get(uuid)
        event = Event(
            host=host,
            kind=kind,
            monotonic_s=self._clock(),
            uuid=uuid,
            name=name or (domain.name if domain else ""),
            detail=detail,
            stats=stats,
        )
        self.history.append(event)
        told = self._hosts[host].connected and (not self._hosts[host].unreachable or kind is EventKind.DISCONNECTED)
        if self._events is not None and told:
            self._events.put_nowait(event)


async def _each_of(events: asyncio.Queue[Event]) -> AsyncIterator[Event]:
    while True:
        yield await events.get()
