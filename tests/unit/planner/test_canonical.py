"""The order of hosts and VMs follows from what they are and have to do with each other, not from their names."""

from dataclasses import replace
from itertools import permutations
from random import Random

from scheduler.cluster.membership import memberships
from scheduler.cluster.model import Link, Snapshot
from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Rules
from scheduler.planner.canonical import canonical
from tests.unit.clusters import cluster, host, vm


def shape(snapshot: Snapshot) -> tuple[object, ...]:
    """All that there is to know of a snapshot but names: where each VM is, and which VMs each rule speaks of."""
    ordered = canonical(snapshot)
    names = [one.name for one in ordered.hosts]
    groups = memberships(ordered.rules, ordered.vms)
    apart, together = ([*map(frozenset, _members([getattr(of, kind) for of in groups]))] for kind in KINDS)
    pins = {(of, tuple(pin.allows(name) for name in names)) for of, one in enumerate(groups) for pin in one.pins}
    return [names.index(one.host or "") for one in ordered.vms], set(apart), set(together), pins


KINDS = ("anti_affinity", "affinity")


def _members(groups_of_vms: list[tuple[int, ...]]) -> list[list[int]]:
    number = 1 + max((group for groups in groups_of_vms for group in groups), default=-1)
    return [[of for of, groups in enumerate(groups_of_vms) if group in groups] for group in range(number)]


def shuffled(random: Random, names: dict[str, str]) -> Snapshot:
    """Nine look-alikes on four hosts: two rings of rules hold seven of them together. Under other names."""
    new = names.__getitem__
    homes = {f"vm{number}": "abcd"[number % 4] for number in range(9)}
    hosts = [host(new(name)) for name in "abcd"]
    vms = [vm(new(name), new(home)) for name, home in homes.items()]
    rules = Rules(
        pins=(Pin(new("vm8"), (new("b"), new("d"))), Pin(new("vm7"), (new("c"), new("d")))),
        anti_affinity=tuple(
            AntiAffinity((new(f"vm{one}"), new(f"vm{other}"))) for one, other in ((0, 1), (1, 2), (2, 3), (3, 0))
        ),
        affinity=tuple(Affinity((new(f"vm{one}"), new(f"vm{other}"))) for one, other in ((4, 5), (5, 6), (6, 4))),
    )
    snapshot = cluster(random.sample(hosts, 4), random.sample(vms, 9), rules)
    return replace(snapshot, rules=replace(rules, affinity=tuple(random.sample(rules.affinity, 3))))


def test_names_do_not_decide() -> None:
    old = [*"abcd", *(f"vm{number}" for number in range(9))]
    first = shape(shuffled(Random("none"), {name: name for name in old}))
    for seed in range(20):
        random = Random(f"names {seed}")
        names = dict(zip(old, random.sample([f"x{number}" for number in range(100)], len(old)), strict=True))
        assert shape(shuffled(random, names)) == first


def _link(source: str, destination: str, bandwidth_mib_per_s: float) -> Link:
    return Link(source=source, destination=destination, bandwidth_mib_per_s=bandwidth_mib_per_s, overhead_seconds=2.0)


def test_links_tell_hosts_apart() -> None:
    orders = set()
    for fast in permutations("abc", 2):
        links = tuple(_link(*way, 1000.0 if way == fast else 100.0) for way in permutations("abc", 2))
        ordered = canonical(replace(cluster([host(name) for name in "abc"], []), links=links))
        places = [one.name for one in ordered.hosts]
        orders.add(tuple(map(places.index, fast)))
    assert len(orders) == 1


def test_a_seed_turns_the_hosts() -> None:
    snapshot = cluster([host(name) for name in "abc"], [])
    assert [one.name for one in canonical(snapshot).hosts] == ["a", "b", "c"]
    assert [one.name for one in canonical(snapshot, seed=4).hosts] == ["b", "c", "a"]


def test_vms_come_by_priority_and_size() -> None:
    vms = [vm("small", "a", memory_mib=1024), vm("vip", "a", priority=1), vm("large", "a", memory_mib=8192)]
    assert [one.name for one in canonical(cluster([host("a")], vms)).vms] == ["large", "small", "vip"]


def test_an_empty_cluster_has_an_order() -> None:
    assert canonical(cluster([], [])).hosts == ()
