"""Makes the snapshot: the latest look at every host, demand windows, rules and what is known of CPUs, joined."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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


class Picture:
    """All hosts and VMs as last seen, brought up to date look by look: a snapshot of thousands takes milliseconds.

    The figures of a VM are those of the time at which its host was taken in.
    """

    def __init__(self, demand: DemandBook, cpu_verdicts: CpuVerdicts) -> None:
        self._demand = demand
        self._cpu_verdicts = cpu_verdicts
        self._inputs: dict[str, HostInput] = {}
        self._hosts: dict[str, Host] = {}
        self._sightings: dict[str, dict[str, DomainObservation]] = {}
        """By UUID and host."""
        self._vms: dict[str, Vm] = {}
        self._vms_in_order = True

    def take_in(self, host: HostInput, windows: Windows) -> None:
        """What is known of a host now; what was known before is forgotten."""
        concerned = self._lift(host.name)
        self._inputs[host.name] = host
        self._hosts[host.name] = _host(host, self._demand, windows)
        for domain in host.observation.domains if host.observation else ():
            self._sightings.setdefault(domain.uuid, {})[host.name] = domain
            concerned.add(domain.uuid)
        self._join(concerned, windows)

    def forget(self, host: str, windows: Windows) -> None:
        """It is no host any more, or was none yet; windows as in `take_in`."""
        concerned = self._lift(host)
        self._inputs.pop(host, None)
        self._hosts.pop(host, None)
        self._join(concerned, windows)

    def snapshot(
        self, taken_at: datetime, windows: Windows, rules: Rules, changing_hands: Collection[str] = ()
    ) -> Snapshot:
        """All hosts, in the order in which they were first taken in, and every VM once, by UUID.

        VMs of which the UUID is in `changing_hands` may be on two hosts; of any other that is a reason for quarantine.
        """
        if not self._vms_in_order:
            self._vms = dict(sorted(self._vms.items()))
            self._vms_in_order = True
        excused = {uuid: replace(self._vms[uuid], quarantine=None) for uuid in changing_hands if uuid in self._vms}
        hosts = (self._present(name, windows) for name in self._hosts)
        vms = self._vms | excused if excused else self._vms
        return Snapshot(taken_at=taken_at, hosts=tuple(hosts), vms=tuple(vms.values()), rules=rules)

    def of(self, host: str, taken_at: datetime, windows: Windows, rules: Rules) -> Snapshot:
        """One host, with what it alone shows; KeyError when it was not taken in."""
        known, vms = self._inputs[host].observation, []
        for domain in sorted(known.domains if known else (), key=lambda domain: domain.uuid):
            if not domain.incoming:
                alone = len(self._sightings[domain.uuid]) == 1
                seen = [(host, domain)]
                vms.append(self._vms[domain.uuid] if alone else _vm(seen, self._demand, windows, self._cpu_verdicts))
        return Snapshot(taken_at=taken_at, hosts=(self._present(host, windows),), vms=tuple(vms), rules=rules)

    def _present(self, name: str, windows: Windows) -> Host:
        host = self._hosts[name]
        return replace(host, stale=True) if not host.stale and self._stale(name, windows) else host

    def _stale(self, host: str, windows: Windows) -> bool:
        observation = self._inputs[host].observation
        return observation is None or windows.now_s - observation.monotonic_s > windows.stale_after_s

    def _lift(self, host: str) -> set[str]:
        """Take away what the host showed; the UUIDs of it."""
        known = self._inputs.get(host)
        shown = {domain.uuid for domain in known.observation.domains} if known and known.observation else set()
        for uuid in shown:
            del self._sightings[uuid][host]
        return shown

    def _join(self, uuids: Iterable[str], windows: Windows) -> None:
        """Make these VMs of everything that is seen of them now."""
        for uuid in uuids:
            seen = self._seen(uuid)
            if all(domain.incoming for _, domain in seen):
                self._vms.pop(uuid, None)
                continue
            self._vms_in_order &= uuid in self._vms
            self._vms[uuid] = _vm(seen, self._demand, windows, self._cpu_verdicts)

    def _seen(self, uuid: str) -> list[tuple[str, DomainObservation]]:
        """The latest look first: just after a migration the source's older look still shows the VM."""
        sightings = self._sightings[uuid]
        if not sightings:
            del self._sightings[uuid]
        return sorted(sightings.items(), key=lambda sighting: (-self._looked_at_s(sighting[0]), sighting[0]))

    def _looked_at_s(self, host: str) -> float:
        observation = self._inputs[host].observation
        return 0.0 if observation is None else observation.monotonic_s


def assemble(
    taken_at: datetime,
    hosts: Sequence[HostInput],
    demand: DemandBook,
    windows: Windows,
    rules: Rules,
    cpu_verdicts: CpuVerdicts,
    changing_hands: Collection[str] = (),
) -> Snapshot:
    """The snapshot of all these hosts at once: see `Picture.snapshot`."""
    picture = Picture(demand, cpu_verdicts)
    for host in hosts:
        picture.take_in(host, windows)
    return picture.snapshot(taken_at, windows, rules, changing_hands)


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
        tsc_hz=facts.tsc_hz,
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
        dirty_mib_per_s=demand.dirty_mib_per_s(domain.uuid, now_s=windows.now_s),
        required_cpu_features=facts.required_cpu_features,
        cpu_missing_on=cpu_verdicts(facts),
        domain_type=facts.virt_type,
        machine_type=facts.machine_type,
        networks=facts.networks,
        storage=facts.storage,
        movable=not facts.blockers,
        blockers=facts.blockers,
        local_disks=facts.local_disks,
        tsc_hz=facts.tsc_hz,
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
