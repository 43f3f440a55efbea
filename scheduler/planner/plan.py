"""Plan: what should move, in which order, and what it is worth; and the snapshot that a plan leads to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..cluster.model import Host, Snapshot, Vm
from ..cluster.plausible import believed_demand
from ..cluster.reason import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One move. Steps of a batch may run at the same time; a batch starts when the one before is done."""

    vm: str
    uuid: str
    source: str
    destination: str
    batch: int
    """From 1."""
    start_seconds: float
    """When its batch is predicted to begin, from the start of the plan."""
    predicted_seconds: float
    predicted_downtime_ms: float
    predicted_transfer_mib: float
    memory_mib: int
    gain: float
    """By how much it lowers the objective's score; 0 for a move that a rule or a drain asks for."""
    reason: Reason

    def as_dict(self) -> dict[str, object]:
        """The form tools get."""
        return {
            "vm": self.vm,
            "source": self.source,
            "destination": self.destination,
            "batch": self.batch,
            "start_seconds": round(self.start_seconds, 1),
            "predicted_seconds": round(self.predicted_seconds, 1),
            "predicted_downtime_ms": round(self.predicted_downtime_ms),
            "predicted_transfer_mib": round(self.predicted_transfer_mib),
            "memory_mib": self.memory_mib,
            "gain": round(self.gain, 6),
            "reason": self.reason.as_dict(),
        }

    def held_back(self, reasons: Iterable[Reason]) -> dict[str, object]:
        """The form in which a decision tells that it was planned and may not be made."""
        way = {"vm": self.vm, "source": self.source, "destination": self.destination}
        return {**way, "reasons": [reason.as_dict() for reason in reasons]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmoved:
    """A VM that should leave its host and does not, and why."""

    vm: str
    host: str
    reasons: tuple[Reason, ...]

    def as_dict(self) -> dict[str, object]:
        """The form tools get."""
        return {"vm": self.vm, "host": self.host, "reasons": [reason.as_dict() for reason in self.reasons]}


@dataclass(frozen=True, slots=True, kw_only=True)
class TermChange:
    """One term of the objective before and after; the score is the sum of weight times value."""

    name: str
    weight: float
    unit: str
    before: float
    after: float

    def as_dict(self) -> dict[str, object]:
        """The form tools get."""
        figures = {"weight": self.weight, "before": round(self.before, 6), "after": round(self.after, 6)}
        return {"name": self.name, "unit": self.unit, **figures}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do now, possibly nothing. Scores: lower is better."""

    objective: str
    score_before: float
    score_after: float
    planning_seconds: float
    steps: tuple[Step, ...]
    unmoved: tuple[Unmoved, ...]
    summary: str
    """One sentence: what is done, or why nothing is."""
    terms: tuple[TermChange, ...]
    repairs: int = 0
    """How many of the steps mend must-rules; they are made whatever they do to the score."""

    @property
    def total_seconds(self) -> float:
        """How long all batches are predicted to take, one after the other."""
        return total_seconds(self.steps)

    def as_dict(self) -> dict[str, object]:
        """The form tools get."""
        return {
            "objective": self.objective,
            "score_before": round(self.score_before, 6),
            "score_after": round(self.score_after, 6),
            "terms": [term.as_dict() for term in self.terms],
            "planning_seconds": round(self.planning_seconds, 4),
            "total_seconds": round(self.total_seconds, 1),
            "repairs": self.repairs,
            "steps": [step.as_dict() for step in self.steps],
            "unmoved": [unmoved.as_dict() for unmoved in self.unmoved],
            "summary": self.summary,
        }


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and the snapshot that it was made of, with settings and drain: of that it can be made again."""

    plan: Plan
    basis: Snapshot


def total_seconds(steps: Iterable[Step]) -> float:
    """How long the steps of a plan are predicted to take; 0 when there are none."""
    return max((step.start_seconds + step.predicted_seconds for step in steps), default=0.0)


class Movement(Protocol):
    """A VM going to a host: a Step, or what a plan file says of one."""

    @property
    def uuid(self) -> str:
        """Of the VM."""

    @property
    def destination(self) -> str:
        """Name of the host it goes to."""


def apply_plan(snapshot: Snapshot, plan: Plan | Iterable[Movement]) -> Snapshot:
    """The snapshot after all steps, with the waiting for CPU that is then to be expected.

    Each core of demand that leaves a host gives its core to those who waited there; the VM that left waits no more.
    Raises KeyError for a VM or host that the snapshot does not have.
    """
    hosts = {host.name: host for host in snapshot.hosts}
    vms = {vm.uuid: vm for vm in snapshot.vms}
    waiting: dict[str | None, set[str]] = {}
    for vm in snapshot.vms:
        if vm.active and waiting_cores(vm):
            waiting.setdefault(vm.host, set()).add(vm.uuid)
    for step in plan.steps if isinstance(plan, Plan) else plan:
        vm = vms[step.uuid]
        waiting.get(vm.host, set()).discard(vm.uuid)
        _carry(hosts, vms, vm, hosts[step.destination].name, sorted(waiting.get(vm.host, ())))
    return replace(
        snapshot,
        hosts=tuple(hosts[host.name] for host in snapshot.hosts),
        vms=tuple(vms[vm.uuid] for vm in snapshot.vms),
    )


def waiting_cores(vm: Vm) -> float:
    """Cores that the VM was ready to use and did not get; 0 when that is unknown."""
    return (vm.cpu_wait_ratio or 0.0) * vm.vcpus


def _carry(hosts: dict[str, Host], vms: dict[str, Vm], vm: Vm, destination: str, waiting: Sequence[str]) -> None:
    """Carry `vm`; those `waiting` on the host that it leaves get the CPU that it used."""
    demand = believed_demand(vm) or 0.0
    moved = replace(
        vm,
        host=destination,
        destination=None,
        cpu_wait_ratio=None if vm.cpu_wait_ratio is None else 0.0,
        defined_on=tuple(sorted({destination if name == vm.host else name for name in vm.defined_on})),
    )
    vms[vm.uuid] = moved
    _use(hosts, destination, demand)
    if vm.host is None or not vm.active:
        return
    freed = demand - waiting_cores(vm)
    stay = [vms[uuid] for uuid in waiting if waiting_cores(vms[uuid])]
    waited = sum(map(waiting_cores, stay))
    served = min(waited, freed)
    for other in stay:
        ratio = other.cpu_wait_ratio or 0.0
        vms[other.uuid] = replace(other, cpu_wait_ratio=ratio * (1 - served / waited))
    _use(hosts, vm.host, served - freed)


def _use(hosts: dict[str, Host], name: str, cores: float) -> None:
    used = hosts[name].cpu_used_cores
    if used is not None:
        hosts[name] = replace(hosts[name], cpu_used_cores=max(0.0, used + cores))
