"""The simulated world: hosts, their guests and migrations, and the events that these send. No protocol, only physics.

Whoever sets the scene adds hosts and VMs, changes what they want, and breaks things: here, or in the fields of
`host(name)`.
"""

import asyncio
import uuid as uuids
from collections.abc import Awaitable, Callable
from functools import partial

from ..cluster.model import VmState
from ..cluster.observation import DomainFacts, Event, EventKind, HostFacts
from ..cluster.ports import RefusedError
from .host import Domain, Guest, SimulatedHost, bare_xml
from .transfer import Burden, Transfer


class World:
    """Hosts in memory. `link_mib_per_s` is what a migration gets unless it is capped."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self.link_mib_per_s = 100.0
        self.burden = Burden()
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

    def begin_guest(self, host: str, uuid: str) -> None:
        """A person starts a stopped VM there; its definition elsewhere goes."""
        name = next(one.domains[uuid].name for one in self._hosts.values() if uuid in one.domains)
        for other in self._hosts.values():
            if other.name != host and other.domains.pop(uuid, None) is not None:
                self._emit(other.name, EventKind.UNDEFINED, uuid, name, "removed")
        if uuid not in self._hosts[host].domains:
            self._define(self._hosts[host], uuid, name, bare_xml(uuid, name, self._facts[uuid]))
        self._boot(self._hosts[host], uuid)

    def crash(self, host: str, why: str = "no route to host") -> None:
        """The whole host fails: its guests with it, and migrations from and to it."""
        for transfer in list(self._transfers.values()):
            if host in {transfer.source, transfer.destination}:
                transfer.cancel(why)
        for domain in list(self._hosts[host].domains.values()):
            if domain.state is not VmState.STOPPED and not domain.incoming:
                self._stop(self._hosts[host], domain.uuid)
                self._emit(host, EventKind.CRASHED, domain.uuid, domain.name, "host failed")
        self.cut(host, why)

    def under_way(self) -> list[tuple[str, str, str]]:
        """UUID, source and destination of each migration that runs."""
        return [(one.uuid, one.source, one.destination) for one in self._transfers.values()]

    # How it works

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
