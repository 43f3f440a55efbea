"""A host in memory: its domains, what they want of its CPUs, and the counters that a hypervisor would show."""

from dataclasses import dataclass, field

from ..cluster.model import VmState
from ..cluster.observation import DomainFacts, DomainObservation, HostFacts, HostObservation

NS = 1_000_000_000
CALL_TIMEOUT_SECONDS = 10.0
"""After which a call to a frozen host is given up."""
SAMPLING_SECONDS = 1.0
"""For which a guest's memory is looked at to tell how much of it is written."""


@dataclass(slots=True, kw_only=True)
class Guest:
    """What a VM does wherever it runs; it travels with it."""

    demand_cores: float = 0.0
    """What it would use on an idle host."""
    memory_used_mib: float | None = None
    dirty_mib_per_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Domain:
    """A domain on one host. Counters begin anew with each process."""

    uuid: str
    name: str
    facts: DomainFacts
    guest: Guest
    xml: str | None
    """Its definition there; None: it is transient."""
    state: VmState = VmState.STOPPED
    autostart: bool = False
    incoming: bool = False
    domain_id: int | None = None
    cpu_time_ns: float = 0.0
    vcpu_delay_ns: float = 0.0
    slowed_ratio: float = 0.0
    """Part of its CPU that it loses while it is carried to another host."""

    @property
    def persistent(self) -> bool:
        """Whether it is defined there."""
        return self.xml is not None

    @property
    def memory_used_mib(self) -> float:
        """What a migration has to carry."""
        used = self.guest.memory_used_mib
        return float(self.facts.memory_mib) if used is None else used

    def observed(self) -> DomainObservation:
        """What a look shows."""
        active = self.state is not VmState.STOPPED
        return DomainObservation(
            uuid=self.uuid,
            name=self.name,
            state=self.state,
            persistent=self.persistent,
            facts=self.facts,
            autostart=self.autostart,
            domain_id=self.domain_id,
            cpu_time_ns=int(self.cpu_time_ns) if active else None,
            vcpu_delay_ns=int(self.vcpu_delay_ns) if active else None,
            memory_used_mib=self.memory_used_mib if active else None,
            incoming=self.incoming,
        )


@dataclass(slots=True, kw_only=True)
class SimulatedHost:
    """A host; `own_load_cores` is what runs beside its VMs. Its faults are set by tests as they need them."""

    name: str
    facts: HostFacts
    domains: dict[str, Domain] = field(default_factory=dict)
    own_load_cores: float = 0.0
    connected: bool = True
    unreachable: str = ""
    """Why nobody can reach its libvirt; empty: they can. Guests and migrations go on."""
    frozen: bool = False
    """Calls are taken and never answered."""
    start_seconds: float = 0.0
    """How long starting a domain there takes."""
    start_error: str = ""
    """What starting a domain there fails with."""
    undefine_error: str = ""
    """What removing a definition there fails with."""
    port_error: str = ""
    """Why memory cannot be sent to it."""
    peer_error: str = ""
    """Why other hosts' hypervisors do not get to it."""
    receive_error: str = ""
    """What migrating to it fails with, at once."""
    receive_breaks_at: float | None = None
    """The part of the memory after which migrating to it breaks off."""
    sampling_error: str = ""
    """Why it cannot tell how much memory guests write."""
    cpu_verdict_unknown: bool = False
    busy_ns: float = 0.0
    counted_until_s: float = 0.0
    next_domain_id: int = 1

    def boot(self, domain: Domain) -> None:
        """Give the domain a process of its own."""
        domain.domain_id = self.next_domain_id
        self.next_domain_id += 1
        domain.cpu_time_ns = domain.vcpu_delay_ns = 0.0
        domain.state = VmState.RUNNING

    def count_until(self, now_s: float) -> None:
        """Bring the counters up to now. To be called before anything that changes who wants how much.

        The CPUs are shared in proportion to what is wanted; the rest of it is waiting.
        """
        span_ns = (now_s - self.counted_until_s) * NS
        self.counted_until_s = now_s
        running = [
            domain for domain in self.domains.values() if domain.state is VmState.RUNNING and not domain.incoming
        ]
        wanted = {domain.uuid: min(domain.guest.demand_cores, domain.facts.vcpus) for domain in running}
        total = sum(wanted.values()) + self.own_load_cores
        served = min(1.0, self.facts.cpus / total) if total else 1.0
        for domain in running:
            domain.cpu_time_ns += wanted[domain.uuid] * served * (1.0 - domain.slowed_ratio) * span_ns
            domain.vcpu_delay_ns += wanted[domain.uuid] * (1.0 - served) * span_ns
        self.busy_ns += total * served * span_ns

    def observed(self, now_s: float) -> HostObservation:
        """What a look shows."""
        self.count_until(now_s)
        used_mib = sum(
            domain.facts.memory_mib for domain in self.domains.values() if domain.state is not VmState.STOPPED
        )
        return HostObservation(
            host=self.name,
            monotonic_s=now_s,
            facts=self.facts,
            domains=tuple(domain.observed() for domain in self.domains.values()),
            cpu_busy_ns=int(self.busy_ns),
            memory_available_mib=max(self.facts.memory_mib - used_mib, 0.0),
        )


def bare_xml(uuid: str, name: str, facts: DomainFacts) -> str:
    """A definition that says little more than how large the VM is."""
    return (
        f"<domain type='{facts.virt_type}'><name>{name}</name><uuid>{uuid}</uuid>"
        f"<memory unit='MiB'>{facts.memory_mib}</memory><vcpu>{facts.vcpus}</vcpu></domain>"
    )
