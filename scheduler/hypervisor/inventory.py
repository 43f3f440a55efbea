"""What one look at one host shows, over one connection: its domains, their counters and facts.

Runs in the host's worker threads. Domain XML and host facts are kept between looks, for as long as the connection
lives: a new connection starts from nothing.
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..cluster.observation import DomainFacts, DomainObservation, HostObservation
from ..cluster.ports import CpuAnswer, DefinitionError, RefusedError
from . import cpu, cpu_guests, disk_copy, statistics
from .binding import Connection, Domain, LibvirtError, Stats, libvirt
from .blockers import SharedStorage
from .domain_xml import HOST_DEPENDENT_CPU_MODES, read_facts
from .errors import code_of, connection_broken, domain_of
from .host_facts import HostInventory, read_host
from .migration import told_by_receiver

HOST_FACTS_MAX_AGE_S = 120.0
DOMAIN_FACTS_MAX_AGE_S = 60.0
"""Not every change of a domain sends an event (vCPUs set live, a NIC's network)."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A domain's facts, and what must be unchanged for them to hold."""

    touches: int
    domain_id: int | None
    read_at_s: float
    facts: DomainFacts


class GuestKinds:
    """For which hypervisor (kvm, qemu) the cluster's domains are made: its hosts are described for the commonest.

    A host may offer several, each with CPUs of its own; of these, libvirt's default need not be the one in use.
    """

    def __init__(self) -> None:
        self._by_host: dict[str, Counter[str]] = {}

    def note(self, host: str, domains: Iterable[DomainObservation]) -> None:
        """What this host has now."""
        self._by_host[host] = Counter(domain.facts.virt_type for domain in domains)

    def forget(self, host: str) -> None:
        """It is let go."""
        self._by_host.pop(host, None)

    @property
    def commonest(self) -> str | None:
        """None, for libvirt's default, while there is no domain anywhere."""
        total = sum(self._by_host.values(), Counter[str]())
        return max(sorted(total), key=total.__getitem__, default=None)


class Inventory:
    """One host as one connection shows it."""

    def __init__(self, host: str, shared_directories: Iterable[str], kinds: GuestKinds) -> None:
        self._host = host
        self._kinds = kinds
        self._shared_directories = tuple(shared_directories)
        self._host_read: tuple[float, str | None, HostInventory] | None = None
        self._domains: dict[str, _Read] = {}
        self._touches: dict[str, int] = {}
        self._host_models: dict[cpu.HypervisorKind, str | None] = {}
        self._answers: dict[tuple[cpu.HypervisorKind, str | None], CpuAnswer] = {}
        self._expanded: dict[tuple[cpu.HypervisorKind, str], frozenset[str] | None] = {}

    @property
    def shared(self) -> SharedStorage:
        """What storage of this host is shared, as far as it has been looked at."""
        return SharedStorage(self._shared_directories) if self._host_read is None else self._host_read[2].shared

    def touch(self, uuid: str) -> None:
        """Something happened to this domain: read it anew, also if it is being read right now."""
        self._touches[uuid] = self._touches.get(uuid, 0) + 1

    def observe(self, connection: Connection) -> HostObservation:
        """The host and all its domains, active and inactive."""
        now_s = time.monotonic()
        host = self._read_host(connection, now_s)
        cpu_busy_ns = statistics.host_cpu_busy_ns(connection)
        memory = statistics.host_memory_mib(connection)
        all_stats = connection.getAllDomainStats(statistics.DOMAIN_GROUPS, statistics.NOWAIT)
        # After the statistics: a domain defined just now must not be taken for one without a definition.
        autostart = _uuids(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)
        persistent = _uuids(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
        domains = []
        for domain, stats in all_stats:
            uuid = domain.UUIDString()
            observed = self._observe(connection, domain, stats, persistent=uuid in persistent, fresh=False)
            if observed is not None:
                domains.append(replace(observed, autostart=uuid in autostart))
        self._forget({domain.uuid for domain in domains})
        self._kinds.note(self._host, domains)
        return HostObservation(
            host=self._host,
            monotonic_s=now_s,
            facts=host.facts if memory is None else replace(host.facts, memory_mib=int(memory[0])),
            domains=tuple(domains),
            cpu_busy_ns=cpu_busy_ns,
            memory_available_mib=None if memory is None else memory[1],
        )

    def domain(self, connection: Connection, uuid: str) -> DomainObservation | None:
        """One domain, nothing of it from memory."""
        try:
            domain = connection.lookupByUUIDString(uuid)
            persistent, autostart = bool(domain.isPersistent()), bool(domain.autostart())
            answers = connection.domainListGetStats([domain], statistics.DOMAIN_GROUPS, statistics.NOWAIT)
        except LibvirtError as error:
            if code_of(error) == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise
        for domain, stats in answers:
            observed = self._observe(connection, domain, stats, persistent=persistent, fresh=True)
            return None if observed is None else replace(observed, autostart=autostart)
        return None

    def compare_cpu(self, connection: Connection, facts: DomainFacts) -> CpuAnswer:
        """Whether the host can run a guest with that CPU; the answer holds as long as the connection."""
        offered = None if self._host_read is None else self._host_read[2].facts.domain_types
        if offered is not None and facts.virt_type not in offered:
            # libvirt would compare with a CPU that has nothing.
            return CpuAnswer(compatible=None, text=f"offers no {facts.virt_type}")
        question = (cpu.HypervisorKind.of(facts), facts.cpu_xml)
        if question not in self._answers:
            self._answers[question] = cpu.compare(connection, facts)
        return self._answers[question]

    def host_model_guest(self, connection: Connection, like: DomainFacts | None) -> DomainFacts:
        """A guest as it would be once started here (see `cpu_guests`). Raises RefusedError."""
        guest = cpu_guests.host_model_guest(connection, like, self._kinds.commonest)
        if guest is None:
            raise RefusedError(self._host, "libvirt does not tell the CPU that it gives to host-model guests")
        return guest

    def _observe(
        self, connection: Connection, domain: Domain, stats: Stats, *, persistent: bool, fresh: bool
    ) -> DomainObservation | None:
        """None when the domain is gone by now."""
        domain_id = domain.ID() if domain.ID() >= 0 else None
        # Libvirt quirk: where domains have no cgroup of their own, an inactive one is told libvirtd's CPU time.
        counters = stats if domain_id is not None else {}
        try:
            facts = self._facts(connection, domain, domain_id, fresh=fresh)
            incoming = _incoming(domain, stats)
        except LibvirtError as error:
            if code_of(error) == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise
        return DomainObservation(
            uuid=domain.UUIDString(),
            name=domain.name(),
            state=statistics.vm_state(stats, domain_id),
            persistent=persistent,
            facts=facts,
            domain_id=domain_id,
            cpu_time_ns=statistics.counter(counters, "cpu.time"),
            vcpu_delay_ns=statistics.vcpu_delay_ns(counters),
            memory_used_mib=statistics.memory_used_mib(counters),
            incoming=incoming,
        )

    def _facts(self, connection: Connection, domain: Domain, domain_id: int | None, *, fresh: bool) -> DomainFacts:
        uuid = domain.UUIDString()
        touches = self._touches.get(uuid, 0)
        now_s = time.monotonic()
        known = self._domains.get(uuid)
        if (
            known is not None
            and not fresh
            and (known.touches, known.domain_id) == (touches, domain_id)
            and now_s - known.read_at_s < DOMAIN_FACTS_MAX_AGE_S
        ):
            return known.facts
        facts = self._read_domain(connection, domain.XMLDesc(0), running=domain_id is not None)
        self._domains[uuid] = _Read(touches, domain_id, now_s, facts)
        return facts

    def _read_domain(self, connection: Connection, xml: str, *, running: bool) -> DomainFacts:
        try:
            facts = read_facts(xml, self.shared, running=running)
        except DefinitionError as error:
            return DomainFacts(vcpus=1, memory_mib=1, blockers=(f"its XML cannot be read: {error}",))
        if running:
            sized = (replace(disk, size_mib=disk_copy.size_mib(connection, disk.path)) for disk in facts.local_disks)
            facts = replace(facts, local_disks=tuple(sized)) if facts.local_disks else facts
        return self._with_cpu(connection, facts) if running and facts.cpu_xml else facts

    def _with_cpu(self, connection: Connection, facts: DomainFacts) -> DomainFacts:
        """A running guest's CPU as it really is: that of its host if it was given the host's, with all features."""
        kind = cpu.HypervisorKind.of(facts)
        cpu_xml = facts.cpu_xml or ""
        if cpu.mode(cpu_xml) in HOST_DEPENDENT_CPU_MODES:
            if kind not in self._host_models:
                self._host_models[kind] = cpu.host_model(connection, kind)
            host_model = self._host_models[kind]
            if host_model is None:
                return facts
            cpu_xml = cpu.strict(host_model)
        if (kind, cpu_xml) not in self._expanded:
            self._expanded[kind, cpu_xml] = cpu.expand(connection, kind, cpu_xml)
        features = self._expanded[kind, cpu_xml]
        return replace(facts, cpu_xml=cpu_xml, required_cpu_features=features or facts.required_cpu_features)

    def _read_host(self, connection: Connection, now_s: float) -> HostInventory:
        kind = self._kinds.commonest
        if self._host_read is not None:
            read_at_s, read_for, host = self._host_read
            if now_s - read_at_s < HOST_FACTS_MAX_AGE_S and read_for == kind:
                return host
        host = read_host(connection, self._shared_directories, cpu.HypervisorKind(virt_type=kind))
        self._host_read = (now_s, kind, host)
        return host

    def _forget(self, remaining: set[str]) -> None:
        for memory in (self._domains, self._touches):
            for uuid in [uuid for uuid in memory if uuid not in remaining]:
                memory.pop(uuid, None)


def _uuids(connection: Connection, flags: int) -> set[str]:
    return {domain.UUIDString() for domain in connection.listAllDomains(flags)}


def _incoming(domain: Domain, stats: Stats) -> bool:
    """Whether this is the receiving half of a migration.

    Both halves are paused "for migration" for a moment; libvirt has the statistics of the job on the source only.
    """
    if stats.get("state.state") != libvirt.VIR_DOMAIN_PAUSED:
        return False
    if stats.get("state.reason") not in {libvirt.VIR_DOMAIN_PAUSED_MIGRATION, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP}:
        return False
    try:
        domain.jobStats()
    except LibvirtError as error:
        if told_by_receiver(error):
            return True
        if code_of(error) == libvirt.VIR_ERR_NO_DOMAIN or connection_broken(code_of(error), domain_of(error)):
            raise
    return False
