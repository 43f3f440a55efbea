"""Generated clusters: 1 to 60 mixed hosts, all kinds of rules, missing figures, VMs on their way.

Hypothesis draws sizes, a mood and a seed; each host and VM is made from the seed and its number: a hundred times faster
than drawing every field, and a failing cluster still shrinks to its fewest hosts and VMs.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple, TypeVar

from hypothesis import strategies as st

from scheduler.cluster.model import Host, HostState, Snapshot, Vm, VmState
from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Priority, Rules, Strength
from tests.property import judge

FEATURES = ("aes", "avx", "avx2", "sse4.2")
MACHINES = ("pc-q35-7.2", "pc-q35-8.2", "pc-i440fx-7.2")
NETWORKS = ("network:default", "bridge:br0")
STORAGE = ("nfs", "ceph")
SELECTORS = ("web*", "db*", "app*", "*1", "*2", "web3", "uuid-4", "UUID-5", "tag:tier", "tag:tier=gold")
HOST_SELECTORS = ("host*", "host1*", "*2")
MOST_HOSTS = (5, 6, 6, 6, 12, 60)
VMS_PER_HOST = 5

_T = TypeVar("_T")


class Mood(NamedTuple):
    """What sort of cluster it is."""

    oddity: float = 0.0
    """How likely each fact is unusual."""
    busy: tuple[float, float] = (0.0, 0.6)
    """Demand per vCPU."""
    crowded: bool = False
    """VMs go where they like, also on hosts that are full."""
    lawful: bool = True
    """No must-rule is broken to begin with."""


MOODS = (
    Mood(),
    Mood(busy=(0.3, 1.0)),
    Mood(oddity=0.03, busy=(0.2, 1.0)),
    Mood(oddity=0.03, busy=(0.1, 0.9), crowded=True),
    Mood(oddity=0.03, lawful=False),
    Mood(oddity=0.15, busy=(0.0, 1.0), crowded=True, lawful=False),
)


class _Draw:
    """Facts of one host or VM, from a seed of its own."""

    def __init__(self, what: object, mood: Mood) -> None:
        self.random = Random(str(what))
        self.choice = self.random.choice
        self.oddity = mood.oddity

    def mostly(self, usual: _T, *others: _T) -> _T:
        return usual if self.random.random() >= self.oddity else self.random.choice(others)

    def some(self, of: tuple[str, ...]) -> frozenset[str]:
        return frozenset(self.random.sample(of, self.random.randint(0, len(of))))


def _host(draw: _Draw, index: int) -> Host:
    cpus = draw.choice([4, 8, 16, 32])
    reserved = draw.choice([0, 2048])
    return Host(
        name=f"host{index}",
        cpus=cpus,
        memory_mib=draw.choice([16, 32, 64]) * 1024,
        reserved_memory_mib=reserved,
        state=draw.mostly(HostState.UP, HostState.MAINTENANCE, HostState.UNREACHABLE),
        cpu_used_cores=draw.mostly(None, draw.random.uniform(0, cpus)),
        cpu_features=draw.mostly(frozenset(FEATURES), None, draw.some(FEATURES)),
        machine_types=draw.mostly(None, frozenset(MACHINES[:2]), frozenset(MACHINES)),
        hypervisor_version=draw.mostly(None, "8.1.2", "7.2.0"),
        networks=draw.mostly(frozenset(NETWORKS), None, draw.some(NETWORKS)),
        storage=draw.mostly(frozenset(STORAGE), None, draw.some(STORAGE)),
        labels=draw.mostly({"rack": draw.choice("abcde")}, {}),
        stale=draw.mostly(False, True),
        contended_seconds=draw.mostly(None, 0.0, 30.0, 500.0),
        expected_contended_seconds=draw.mostly(None, 0.0, 500.0, 2000.0),
    )


def _vm(draw: _Draw, index: int, names: list[str], mood: Mood) -> Vm:
    random = draw.random
    vcpus = draw.choice([1, 2, 4, 8])
    waits = draw.mostly(0.0, random.uniform(0, 0.5))
    demand = draw.mostly(vcpus * max(waits, random.uniform(*mood.busy)), None)
    state = draw.mostly(VmState.RUNNING, VmState.PAUSED, VmState.STOPPED)
    return Vm(
        name=f"{draw.choice(['web', 'db', 'app'])}{index}",
        uuid=f"uuid-{index}",
        vcpus=vcpus,
        memory_mib=draw.choice([1, 2, 4, 8]) * 1024,
        host=names[min(random.randrange(len(names)), random.randrange(len(names)))],
        state=state,
        cpu_demand_cores=demand,
        cpu_demand_high_cores=None if demand is None else demand * draw.choice([1.0, 1.0, 1.2, 2.5]),
        cpu_wait_ratio=draw.mostly(waits, None),
        memory_used_mib=draw.mostly(None, 100.0),
        dirty_mib_per_s=draw.mostly(None, 10.0, 500.0),
        required_cpu_features=draw.mostly(None, draw.some(FEATURES)),
        cpu_missing_on=draw.mostly({}, {draw.choice(names): draw.some(FEATURES)}),
        machine_type=draw.mostly(None, *MACHINES),
        networks=draw.mostly(frozenset(), draw.some(NETWORKS)),
        storage=draw.mostly(frozenset(), draw.some(STORAGE)),
        movable=draw.mostly(True, False),
        hold=draw.mostly(None, "cooldown"),
        not_to=draw.mostly({}, {draw.choice(names): "came from there"}),
        quarantine=draw.mostly(None, "runs twice"),
        destination=draw.mostly(None, draw.choice(names)) if state is VmState.RUNNING else None,
        defined_on=draw.mostly((), (draw.choice(names),)),
        labels=draw.mostly({"tier": draw.choice(["gold", "iron", "iron", "iron"])}, {}),
    )


def _settled(hosts: tuple[Host, ...], vms: tuple[Vm, ...]) -> tuple[Vm, ...]:
    """Every VM where memory is left for it, from its own host onwards; stopped when there is none."""
    free = {host.name: host.memory_mib - host.reserved_memory_mib for host in hosts}
    names, settled = list(free), []
    for vm in vms:
        first = names.index(str(vm.host))
        fit = [name for name in names[first:] + names[:first] if free[name] >= vm.memory_mib]
        if not fit or not vm.active:
            settled.append(replace(vm, state=VmState.STOPPED, destination=None))
            continue
        going = vm.destination if vm.destination in fit and vm.destination != fit[0] else None
        for name in (fit[0], going):
            if name is not None:
                free[name] -= vm.memory_mib
        settled.append(replace(vm, host=fit[0], destination=going))
    return tuple(settled)


def _rules(draw: _Draw, hosts: list[str], vms: tuple[Vm, ...]) -> Rules:
    random = draw.random
    names = [vm.name for vm in vms] or ["web0"]

    def members() -> tuple[str, ...]:
        few = tuple(random.sample(names, min(len(names), random.randint(2, 4))))
        return draw.choice([few, tuple(random.sample(SELECTORS, random.randint(1, 2)))])

    def some_hosts() -> tuple[str, ...]:
        few = tuple(random.sample(hosts, random.randint(1, min(3, len(hosts)))))
        return draw.choice([few, few, (draw.choice(HOST_SELECTORS),)])

    def up_to(number: int, make: Callable[[], _T]) -> tuple[_T, ...]:
        return tuple(make() for _ in range(random.randint(0, number)))

    def apart() -> AntiAffinity:
        over, strength = random.choice([None, None, "rack"]), draw.choice(strengths)
        if random.random() < 0.3:
            return AntiAffinity(members(), strength, spread_over=over, against=members())
        return AntiAffinity(members(), strength, random.choice([1, 2, 5]), over)

    strengths = list(Strength)
    return Rules(
        pins=up_to(3, lambda: Pin(random.choice([*SELECTORS, *names[:3]]), some_hosts(), draw.choice(strengths))),
        anti_affinity=up_to(3, apart),
        affinity=up_to(2, lambda: Affinity(members(), draw.choice(strengths))),
        priorities=up_to(2, lambda: Priority(members(), random.randint(-2, 2))),
    )


def cluster(hosts: int, vms: int, mood: Mood, seed: int, *, ruled: bool = True) -> Snapshot:
    """The cluster that these numbers stand for."""
    machines = tuple(_host(_Draw(("host", seed, index), mood), index) for index in range(hosts))
    names = [host.name for host in machines]
    guests = tuple(_vm(_Draw(("vm", seed, index), mood), index, names, mood) for index in range(vms))
    if not mood.crowded:
        guests = _settled(machines, guests)
    taken_at = datetime(2026, 11, 23, tzinfo=UTC)
    rules = _rules(_Draw(("rules", seed), mood), names, guests) if ruled else Rules()
    made = Snapshot(taken_at=taken_at, hosts=machines, vms=guests, rules=rules)
    return replace(made, rules=judge.kept(made)) if mood.lawful else made


@st.composite
def snapshots(draw: st.DrawFn, moods: tuple[Mood, ...] = MOODS) -> Snapshot:
    """Clusters of 1 to 60 hosts, most of them small, and up to five VMs a host; half of them without rules."""
    hosts = draw(st.integers(1, draw(st.sampled_from(MOST_HOSTS))))
    vms = draw(st.integers(0, VMS_PER_HOST * hosts))
    mood = draw(st.sampled_from(moods))
    return cluster(hosts, vms, mood, draw(st.integers(0, 1_000_000)), ruled=draw(st.booleans()))


def plain(snapshot: Snapshot) -> Snapshot:
    """The same cluster with nothing under way, and every figure known."""
    return replace(
        snapshot,
        hosts=tuple(replace(host, state=HostState.UP, stale=False) for host in snapshot.hosts),
        vms=tuple(replace(vm, destination=None, cpu_demand_cores=vm.cpu_demand_cores or 0.0) for vm in snapshot.vms),
    )
