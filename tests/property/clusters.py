"""Generated clusters: mixed hosts, all rules, missing figures, VMs on their way; and a plain judge of hard rules.

Hypothesis draws sizes and a seed, each host and VM is made from the seed and its number: a hundred times faster than
drawing every field, and a failing cluster still shrinks to its fewest hosts and VMs.
"""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import TypeVar

from hypothesis import strategies as st

from scheduler.cluster.model import Host, HostState, Snapshot, Vm, VmState
from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Priority, Rules, Strength, selected_by_any, selects
from scheduler.planner.plan import Plan, Step

FEATURES = ("aes", "avx", "avx2", "sse4.2")
NETWORKS = ("network:default", "bridge:br0")
SELECTORS = ("web*", "db*", "app*", "*1", "*2", "web3")

_T = TypeVar("_T")


def _mostly(random: Random, usual: _T, *others: _T) -> _T:
    return usual if random.random() < 0.85 else random.choice(others)


def _some(random: Random, of: tuple[str, ...]) -> frozenset[str]:
    return frozenset(random.sample(of, random.randint(0, len(of))))


def _host(random: Random, index: int) -> Host:
    cpus = random.choice([4, 8, 16])
    return Host(
        name=f"host{index}",
        cpus=cpus,
        memory_mib=random.choice([16, 32, 64]) * 1024,
        reserved_memory_mib=random.choice([0, 2048]),
        state=_mostly(random, HostState.UP, HostState.MAINTENANCE, HostState.UNREACHABLE),
        cpu_used_cores=_mostly(random, None, random.uniform(0, cpus)),
        cpu_features=_mostly(random, None, _some(random, FEATURES)),
        networks=_mostly(random, None, _some(random, NETWORKS)),
        labels=_mostly(random, {"rack": random.choice("ab")}, {}),
        stale=random.random() < 0.1,
        contended_seconds=_mostly(random, None, 0.0, 30.0, 500.0),
    )


def _vm(random: Random, index: int, names: list[str]) -> Vm:
    vcpus = random.choice([1, 2, 4])
    waits = _mostly(random, 0.0, random.uniform(0, 0.5))
    demand = _mostly(random, vcpus * max(waits, random.random()), None)
    state = _mostly(random, VmState.RUNNING, VmState.PAUSED, VmState.STOPPED)
    return Vm(
        name=f"{random.choice(['web', 'db', 'app'])}{index}",
        uuid=f"uuid-{index}",
        vcpus=vcpus,
        memory_mib=random.choice([1, 2, 4, 8]) * 1024,
        host=names[min(random.randrange(len(names)), random.randrange(len(names)))],
        state=state,
        cpu_demand_cores=demand,
        cpu_demand_high_cores=None if demand is None else demand * random.choice([1.0, 1.5]),
        cpu_wait_ratio=_mostly(random, waits, None),
        dirty_mib_per_s=_mostly(random, None, 10.0, 500.0),
        required_cpu_features=_mostly(random, None, _some(random, FEATURES)),
        cpu_missing_on=_mostly(random, {}, {random.choice(names): _some(random, FEATURES)}),
        networks=_mostly(random, frozenset(), _some(random, NETWORKS)),
        movable=random.random() < 0.9,
        hold=_mostly(random, None, "cooldown"),
        not_to=_mostly(random, {}, {"host0": "came from there"}),
        quarantine=_mostly(random, None, "runs twice"),
        destination=_mostly(random, None, None, random.choice(names)) if state is VmState.RUNNING else None,
    )


def _rules(random: Random, names: list[str]) -> Rules:
    def vms() -> tuple[str, ...]:
        return tuple(random.sample(SELECTORS, random.randint(1, 2)))

    def hosts() -> tuple[str, ...]:
        return tuple(random.sample(names, random.randint(1, min(3, len(names)))))

    def strength() -> Strength:
        return random.choice(list(Strength))

    priorities = tuple(Priority(vms(), random.randint(-2, 2)) for _ in range(random.randint(0, 1)))
    return Rules(
        priorities=priorities,
        pins=tuple(Pin(random.choice(SELECTORS), hosts(), strength()) for _ in range(random.randint(0, 2))),
        anti_affinity=tuple(_apart(random, vms(), strength()) for _ in range(random.randint(0, 2))),
        affinity=tuple(Affinity(vms(), strength()) for _ in range(random.randint(0, 1))),
    )


def _apart(random: Random, vms: tuple[str, ...], strength: Strength) -> AntiAffinity:
    over = _mostly(random, None, "rack")
    if random.random() < 0.4:
        against = tuple(random.sample(SELECTORS, random.randint(1, 2)))
        return AntiAffinity(vms, strength, spread_over=over, against=against)
    return AntiAffinity(vms, strength, random.randint(1, 2), over)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Clusters of 1 to 6 hosts and up to 24 VMs; half of them without rules."""
    seed = draw(st.integers(0, 1_000_000))
    hosts = tuple(_host(Random(f"host {seed} {index}"), index) for index in range(draw(st.integers(1, 6))))
    names = [host.name for host in hosts]
    vms = tuple(_vm(Random(f"vm {seed} {index}"), index, names) for index in range(draw(st.integers(0, 24))))
    return Snapshot(
        taken_at=datetime(2026, 11, 23, tzinfo=UTC),
        hosts=hosts,
        vms=vms,
        rules=_rules(Random(f"rules {seed}"), names) if draw(st.booleans()) else Rules(),
    )


def plain(snapshot: Snapshot) -> Snapshot:
    """The same cluster with nothing under way, and every figure known."""
    return replace(
        snapshot,
        hosts=tuple(replace(host, state=HostState.UP, stale=False) for host in snapshot.hosts),
        vms=tuple(replace(vm, destination=None, cpu_demand_cores=vm.cpu_demand_cores or 0.0) for vm in snapshot.vms),
    )


def broken_rules(snapshot: Snapshot) -> Counter[tuple[str, object]]:
    """How badly each must-rule is broken, counted the slow way: VMs too many, misplaced or away from their group.

    Of two groups that keep apart: pairs that meet. A VM under way is on both of its hosts, for anti-affinity.
    """
    broken: Counter[tuple[str, object]] = Counter()
    running = [vm for vm in snapshot.vms if vm.active]
    for pin in snapshot.rules.pins:
        if pin.strength is Strength.MUST:
            broken["pin", pin] += sum(_means((pin.vm,), vm) and not pin.allows(vm.host or "") for vm in running)
    for rule in snapshot.rules.anti_affinity:
        if rule.strength is Strength.MUST:
            first = Counter(place for vm in running if _means(rule.vms, vm) for place in _domains(snapshot, vm, rule))
            if rule.against:
                others = [vm for vm in running if _means(rule.against, vm) and not _means(rule.vms, vm)]
                second = Counter(place for vm in others for place in _domains(snapshot, vm, rule))
                broken["anti_affinity", rule] += sum(first[place] * second[place] for place in first)
            else:
                broken["anti_affinity", rule] += sum(max(0, number - rule.max_per_host) for number in first.values())
    for group in snapshot.rules.affinity:
        if group.strength is Strength.MUST:
            per_host = Counter(vm.host for vm in running if _means(group.vms, vm))
            broken["affinity", group] += sum(per_host.values()) - max(per_host.values(), default=0)
    return broken


def _domains(snapshot: Snapshot, vm: Vm, rule: AntiAffinity) -> set[tuple[bool, str]]:
    places = set()
    for name in {str(vm.host), vm.destination or str(vm.host)}:
        label = snapshot.host(name).labels.get(rule.spread_over or "")
        places.add((False, name) if label is None else (True, label))
    return places


def _means(selectors: tuple[str, ...], vm: Vm) -> bool:
    if len(selectors) == 1:
        return selects(selectors[0], name=vm.name, uuid=vm.uuid, labels=vm.labels)
    return selected_by_any(selectors, name=vm.name, uuid=vm.uuid, labels=vm.labels)


def batches(plan: Plan) -> list[list[Step]]:
    """The steps of each batch, in order."""
    last = max((step.batch for step in plan.steps), default=0)
    return [[step for step in plan.steps if step.batch == number] for number in range(1, last + 1)]


def under_way(snapshot: Snapshot, steps: list[Step]) -> Snapshot:
    """The snapshot while `steps` are carried out: each VM on both ends."""
    to = {step.uuid: step.destination for step in steps}
    vms = tuple(replace(vm, destination=to.get(vm.uuid, vm.destination)) for vm in snapshot.vms)
    return replace(snapshot, vms=vms)


def held_mib(snapshot: Snapshot, arriving: list[Step]) -> dict[str, int]:
    """Memory that VMs hold on each host while `arriving` are under way: on both ends."""
    held = dict.fromkeys((host.name for host in snapshot.hosts), 0)
    for vm in snapshot.vms:
        if vm.active:
            for name in {vm.host, vm.destination} - {None}:
                held[str(name)] += vm.memory_mib
    for step in arriving:
        held[step.destination] += snapshot.vm(step.uuid).memory_mib
    return held
