"""Makes the snapshot: the latest look at every host, demand windows, rules and what is known of CPUs, joined."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from .demand import DemandBook
from .model import Host, HostState, Snapshot, Vm, VmState
from .observation import DomainFacts, DomainObservation, HostObservation
from .rules import Rules

CpuVerdicts = Callable[[DomainFacts], Mapping[str, frozenset[str]]]
"""What each host's libvirt answered for a guest CPU: host -> missing features; hosts that could not tell are absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInput:
    """One host as the daemon knows it."""

    name: str
    reachable: bool
    observation: HostObservation | None
    """The latest look; None when it has never been seen."""
    reserved_memory_mib: int = 0
    cordoned: bool = False
    contended_seconds: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Over what time demand is taken, in seconds on the observer's clock."""

    now_s: float
    recent_s: float = 60.0
    stale_after_s: float = 35.0
    high_percentile: float = 0.95


def assemble(
    taken_at: datetime,
    hosts: Sequence[HostInput],
    demand: DemandBook,
    windows: Windows,
    rules: Rules,
    cpu_verdicts: CpuVerdicts,
    changing_hands: Collection[str] = (),
) -> Snapshot:
    """The snapshot of all hosts and of every VM once, by UUID.

    VMs of which the UUID is in `changing_hands` may be on two hosts; of any other that is a reason for quarantine.
    """
    sightings: dict[str, list[tuple[str, DomainObservation]]] = {}
    # The latest look first: just after a migration the source's older look still shows the VM.
    for host in sorted(hosts, key=lambda host: -host.observation.monotonic_s if host.observation else 0.0):
        for domain in host.observation.domains if host.observation else ():
            sightings.setdefault(domain.uuid, []).append((host.name, domain))
    vms = (
        _vm(seen, demand, windows, cpu_verdicts) for _, seen in sorted(sightings.items()) if not _only_incoming(seen)
    )
    return Snapshot(
        taken_at=taken_at,
        hosts=tuple(_host(host, demand, windows) for host in hosts),
        vms=tuple(replace(vm, quarantine=None) if vm.uuid in changing_hands else vm for vm in vms),
        rules=rules,
    )


def _only_incoming(seen: Sequence[tuple[str, DomainObservation]]) -> bool:
    return all(domain.incoming for _, domain in seen)


def _host(host: HostInput, demand: DemandBook, windows: Windows) -> Host:
    if host.observation is None:
        return Host(name=host.name, cpus=0, memory_mib=0, state=HostState.UNREACHABLE, labels=host.labels, stale=True)
    facts = host.observation.facts
    state = HostState.MAINTENANCE if host.cordoned else HostState.UP
    return Host(
        name=host.name,
        cpus=facts.cpus,
        memory_mib=facts.memory_mib,
        state=state if host.reachable else HostState.UNREACHABLE,
        reserved_memory_mib=host.reserved_memory_mib,
        cpu_used_cores=demand.host_used_cores(host.name, now_s=windows.now_s, recent_s=windows.recent_s),
        cpu_features=facts.cpu_features,
        cpu_model=facts.cpu_model,
        domain_types=facts.domain_types,
        machine_types=facts.machine_types,
        networks=facts.networks,
        storage=facts.storage,
        libvirt_version=facts.libvirt_version or None,
        hypervisor_version=facts.hypervisor_version or None,
        labels=host.labels,
        stale=windows.now_s - host.observation.monotonic_s > windows.stale_after_s,
        contended_seconds=host.contended_seconds,
    )


def _vm(
    seen: Sequence[tuple[str, DomainObservation]], demand: DemandBook, windows: Windows, cpu_verdicts: CpuVerdicts
) -> Vm:
    """One VM of everything seen of its UUID: where it runs counts, else where it is defined."""
    present = [(host, domain) for host, domain in seen if not domain.incoming]
    active = [(host, domain) for host, domain in present if domain.state is not VmState.STOPPED]
    host, domain = (active or present)[0]
    facts = domain.facts
    return Vm(
        name=domain.name,
        uuid=domain.uuid,
        vcpus=facts.vcpus,
        memory_mib=facts.memory_mib,
        host=host,
        state=domain.state,
        cpu_demand_cores=demand.demand_cores(domain.uuid, now_s=windows.now_s, recent_s=windows.recent_s),
        cpu_demand_high_cores=demand.demand_high_cores(
            domain.uuid, now_s=windows.now_s, percentile=windows.high_percentile
        ),
        cpu_wait_ratio=demand.wait_ratio(
            domain.uuid, host, vcpus=facts.vcpus, now_s=windows.now_s, recent_s=windows.recent_s
        ),
        memory_used_mib=domain.memory_used_mib,
        required_cpu_features=facts.required_cpu_features,
        cpu_missing_on=cpu_verdicts(facts),
        domain_type=facts.virt_type,
        machine_type=facts.machine_type,
        networks=facts.networks,
        storage=facts.storage,
        movable=not facts.blockers,
        blockers=facts.blockers,
        hold="has just been started"
        if demand.starting(domain.uuid, now_s=windows.now_s, recent_s=windows.recent_s)
        else None,
        quarantine=_runs_twice(active),
        destination=next((other for other, sighting in seen if sighting.incoming and other != host), None),
        defined_on=tuple(sorted(other for other, sighting in present if sighting.persistent)),
        labels=facts.labels,
    )


def _runs_twice(active: Sequence[tuple[str, DomainObservation]]) -> str | None:
    """The same UUID active on several hosts is a split brain or a careless clone: hands off."""
    if len(active) < 2:
        return None
    return f"its UUID is active on {' and '.join(sorted(host for host, _ in active))}: a person should look"
