"""A judge of plans that shares nothing with the planner: plain loops over names, every rule written out once more.

A batch is judged in whatever order its moves begin and end: until it is over, each VM under way is on both its hosts.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from scheduler.cluster.model import Host, HostState, Snapshot, Vm, VmState
from scheduler.cluster.rules import AntiAffinity, Rules, Strength, selected_by_any, selects
from scheduler.planner.plan import Plan, Step

MOST_INBOUND = 1
MOST_OUTBOUND = 2
DEMANDED = ("repair", "drain", "parking")
"""Reasons of moves that are not made for balance."""


@dataclass
class State:
    """Where every VM is: on one host, or on two while it is under way."""

    snapshot: Snapshot
    on: dict[str, set[str]]

    @classmethod
    def of(cls, snapshot: Snapshot) -> "State":
        ends = {vm.uuid: {end for end in (vm.host, vm.destination) if end} for vm in snapshot.vms if vm.active}
        return cls(snapshot, ends)

    def residents(self, host: str) -> list[Vm]:
        """Every VM that takes room there."""
        return [vm for vm in self.snapshot.vms if host in self.on.get(vm.uuid, ())]

    def memory_mib(self, host: str) -> int:
        return sum(vm.memory_mib for vm in self.residents(host))


def flaws(snapshot: Snapshot, plan: Plan) -> list[str]:
    """Everything that is wrong with carrying out `plan`; nothing for a sound one."""
    return list(_flaws(snapshot, plan))


def batches(plan: Plan) -> list[list[Step]]:
    """The steps of each batch, in order."""
    last = max((step.batch for step in plan.steps), default=0)
    return [[step for step in plan.steps if step.batch == number] for number in range(1, last + 1)]


def _flaws(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    state = State.of(snapshot)
    other = {host.name: _used_by_others(snapshot, host) for host in snapshot.hosts}
    for number, batch in enumerate(batches(plan), start=1):
        for step in batch:
            if state.on.get(step.uuid) != {step.source}:
                yield f"batch {number}: {step.vm} is not on {step.source} alone"
            for refusal in refusals(snapshot, snapshot.vm(step.uuid), step.destination):
                yield f"batch {number}: {step.vm} to {step.destination}: {refusal}"
        yield from (f"batch {number}: {flaw}" for flaw in _crowded(batch))
        before = {uuid: frozenset(ends) for uuid, ends in state.on.items()}
        for step in batch:
            state.on[step.uuid] = {step.source, step.destination}
        for step in batch:
            yield from (f"batch {number}: {step.vm}: {flaw}" for flaw in _arrival(state, before, step, other))
        for step in batch:
            state.on[step.uuid] = {step.destination}
    was, now = scattered(State.of(snapshot)), scattered(state)
    yield from (f"in the end {now[rule]} are apart of {rule}" for rule in now if now[rule] > was[rule])


def _crowded(batch: list[Step]) -> Iterator[str]:
    for what, most, ends in (
        ("inbound", MOST_INBOUND, Counter(step.destination for step in batch)),
        ("outbound", MOST_OUTBOUND, Counter(step.source for step in batch)),
        ("moves of one VM", 1, Counter(step.uuid for step in batch)),
    ):
        yield from (f"{number} {what} at {name}" for name, number in ends.items() if number > most)


def _arrival(state: State, before: dict[str, frozenset[str]], step: Step, other: dict[str, float]) -> Iterator[str]:
    """What `step` must not find on its destination while its batch is under way."""
    host = state.snapshot.host(step.destination)
    if state.memory_mib(host.name) > host.memory_mib - host.reserved_memory_mib:
        yield f"{host.name} is above its memory"
    if step.reason.code not in DEMANDED:
        demand = sum(vm.cpu_demand_cores or 0.0 for vm in state.residents(host.name) if not _leaves(vm, host.name))
        demand += other[host.name]
        if demand > host.cpus + 1e-6:
            yield f"{host.name} has {demand:.2f} cores of demand on {host.cpus} CPUs"
    vm = state.snapshot.vm(step.uuid)
    for rule in state.snapshot.rules.anti_affinity:
        was_there = any(_domain(rule, state.snapshot.host(end)) == _domain(rule, host) for end in before[vm.uuid])
        if rule.strength is Strength.MUST and not was_there and (number := too_many(state, rule, vm, host)):
            yield f"{number} too many for {rule} on {host.name}"


def _leaves(vm: Vm, host: str) -> bool:
    """Whether it was on its way away from there before any of this: its CPU counts where it goes."""
    return vm.host == host and vm.destination not in (None, host)


def too_many(state: State, rule: AntiAffinity, vm: Vm, host: Host) -> int:
    """How many VMs are in the way of `vm` on `host` or in its failure domain."""
    there = [one for one in state.snapshot.vms if one.uuid != vm.uuid and _in_domain(state, rule, one, host)]
    if not rule.against:
        number = sum(member(rule.vms, one) for one in there) + 1
        return max(0, number - rule.max_per_host) if member(rule.vms, vm) else 0
    sides = _side(rule, vm)
    return sum(bool(sides) and _side(rule, one) == -sides for one in there)


def _side(rule: AntiAffinity, vm: Vm) -> int:
    """Of two groups that keep apart: 1 in the first, -1 in the other, 0 in neither."""
    return 1 if member(rule.vms, vm) else -1 if member(rule.against, vm) else 0


def _in_domain(state: State, rule: AntiAffinity, vm: Vm, host: Host) -> bool:
    ends = state.on.get(vm.uuid, ())
    return any(_domain(rule, state.snapshot.host(end)) == _domain(rule, host) for end in ends)


def _domain(rule: AntiAffinity, host: Host) -> tuple[str, str]:
    value = host.labels.get(rule.spread_over) if rule.spread_over is not None else None
    return ("host", host.name) if value is None else ("label", value)


def _used_by_others(snapshot: Snapshot, host: Host) -> float:
    """Cores that the host uses beside its VMs."""
    if host.cpu_used_cores is None:
        return 0.0
    at_home = [vm for vm in snapshot.vms if vm.active and vm.host == host.name]
    used = sum(vm.cpu_demand_cores for vm in at_home if vm.cpu_demand_cores is not None)
    waited = sum((vm.cpu_wait_ratio or 0.0) * vm.vcpus for vm in at_home)
    return max(0.0, host.cpu_used_cores - (used - waited))


def refusals(snapshot: Snapshot, vm: Vm, destination: str) -> list[str]:
    """What speaks against moving `vm` there, whatever else is there."""
    host, source = snapshot.host(destination), snapshot.host(str(vm.host))
    pins = [pin for pin in snapshot.rules.pins if pin.strength is Strength.MUST and member((pin.vm,), vm)]
    namesakes = [one for one in snapshot.vms if one.name == vm.name and one.uuid != vm.uuid]
    found = {
        "takes nothing": host.state is not HostState.UP or host.stale,
        "cannot move": not vm.movable or vm.state is VmState.STOPPED,
        "must be left alone": vm.quarantine is not None or vm.destination is not None,
        "its host is not seen": source.state is HostState.UNREACHABLE or source.stale,
        "CPU may lack what it needs": _cpu_may_lack(vm, host),
        "no such machine type": vm.machine_type not in (host.machine_types or {vm.machine_type}) | {None},
        "no such network": host.networks is not None and not vm.networks <= host.networks,
        "no such storage": host.storage is not None and not vm.storage <= host.storage,
        "pinned elsewhere": not all(pin.allows(destination) for pin in pins),
        "is defined there": destination in vm.defined_on,
        "another of its name is there": any(destination in (one.host, *one.defined_on) for one in namesakes),
    }
    return [refusal for refusal, holds in found.items() if holds]


def _cpu_may_lack(vm: Vm, host: Host) -> bool:
    if host.name in vm.cpu_missing_on:
        return bool(vm.cpu_missing_on[host.name])
    if vm.required_cpu_features is None:
        return bool(vm.cpu_missing_on)
    return host.cpu_features is None or not vm.required_cpu_features <= host.cpu_features


def member(selectors: tuple[str, ...], vm: Vm) -> bool:
    """Whether any of `selectors` means `vm`."""
    if len(selectors) == 1:
        return selects(selectors[0], name=vm.name, uuid=vm.uuid, labels=vm.labels)
    return selected_by_any(selectors, name=vm.name, uuid=vm.uuid, labels=vm.labels)


def scattered(state: State) -> Counter[str]:
    """Of each must-affinity how many VMs are away from most of their group."""
    away: Counter[str] = Counter()
    for group in state.snapshot.rules.affinity:
        if group.strength is Strength.MUST:
            members = (vm for vm in state.snapshot.vms if vm.active and member(group.vms, vm))
            homes = Counter(vm.destination or min(state.on[vm.uuid]) for vm in members)
            away[str(group)] += sum(homes.values()) - max(homes.values(), default=0)
    return away


def misplaced(snapshot: Snapshot) -> int:
    """The fewest VMs that soft rules would have elsewhere, once for each rule."""
    rules, state, soft = snapshot.rules, State.of(snapshot), Strength.SHOULD
    active = [vm for vm in snapshot.vms if vm.active]
    off = sum(
        not pin.allows(str(vm.host))
        for pin in rules.pins
        if pin.strength is soft
        for vm in active
        if member((pin.vm,), vm)
    )
    apart = 0
    for rule in (rule for rule in rules.anti_affinity if rule.strength is soft):
        for domain in {_domain(rule, host) for host in snapshot.hosts}:
            there = [vm for vm in active if _domain(rule, snapshot.host(str(vm.host))) == domain]
            sides = Counter(_side(rule, vm) for vm in there)
            apart += min(sides[1], sides[-1]) if rule.against else max(0, sides[1] - rule.max_per_host)
    together = tuple(replace(rule, strength=Strength.MUST) for rule in rules.affinity if rule.strength is soft)
    alone = replace(snapshot, rules=Rules(affinity=together))
    # The same group twice counts twice.
    away = scattered(replace(state, snapshot=alone)).total()
    return off + apart + away


def kept(snapshot: Snapshot) -> Rules:
    """The rules of `snapshot` without the must-rules that are broken there."""
    rules, state = snapshot.rules, State.of(snapshot)

    def pin_holds(selector: str, allowed: list[str]) -> bool:
        return all(
            set(state.on[vm.uuid]) <= set(allowed) for vm in snapshot.vms if vm.active and member((selector,), vm)
        )

    def apart(rule: AntiAffinity) -> bool:
        ends = ((vm, snapshot.host(end)) for vm in snapshot.vms for end in state.on.get(vm.uuid, ()))
        return not any(too_many(state, rule, vm, host) for vm, host in ends)

    together = scattered(state)
    return replace(
        rules,
        pins=tuple(
            pin
            for pin in rules.pins
            if pin.strength is Strength.SHOULD
            or pin_holds(pin.vm, [host.name for host in snapshot.hosts if pin.allows(host.name)])
        ),
        anti_affinity=tuple(rule for rule in rules.anti_affinity if rule.strength is Strength.SHOULD or apart(rule)),
        affinity=tuple(rule for rule in rules.affinity if not together[str(rule)]),
    )
