"""Contradictions among must-rules, held against trying every way to place the VMs."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.cluster.model import Host, Vm
from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Rules, selected_by_any
from scheduler.planner.feasibility import MEMORY, RuleKey, conflicts
from tests.unit.clusters import host, vm

NAMES = ("a", "b", "c", "d")
HOSTS = ("h1", "h2", "h3")
SOME = st.lists(st.sampled_from([*NAMES, "*", "[ab]"]), min_size=1, max_size=3).map(tuple)
PINS = st.builds(
    Pin, st.sampled_from([*NAMES, "*"]), st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2).map(tuple)
)
APART = st.builds(lambda vms, most, over: AntiAffinity(vms, max_per_host=most, spread_over=over),
                  SOME, st.integers(1, 2), st.sampled_from([None, "rack"]))  # fmt: skip
CROSSED = st.builds(lambda vms, against: AntiAffinity(vms, against=against), SOME, SOME)
RULES = st.builds(
    lambda pins, apart, crossed, together: Rules(tuple(pins), (*apart, *crossed), tuple(together)),
    st.lists(PINS, max_size=3),
    st.lists(APART, max_size=2),
    st.lists(CROSSED, max_size=1),
    st.lists(st.builds(Affinity, SOME), max_size=2),
)
CLUSTERS = st.builds(
    lambda racks, sizes: ([host(name, labels={"rack": rack} if rack else {}, memory_mib=8, reserved_memory_mib=0)
                           for name, rack in zip(HOSTS, racks, strict=True)],
                          [vm(name, "h1", memory_mib=size) for name, size in zip(NAMES, sizes, strict=True)]),
    st.tuples(*(st.sampled_from(["", "1", "2"]) for _ in HOSTS)),
    st.tuples(*(st.integers(1, 5) for _ in NAMES)),
)  # fmt: skip


def meant(selectors: tuple[str, ...], vms: list[Vm]) -> set[str]:
    return {one.name for one in vms if selected_by_any(selectors, name=one.name, uuid=one.uuid, labels=one.labels)}


def place(rule: AntiAffinity, one: Host) -> str:
    return f"={one.labels[rule.spread_over]}" if rule.spread_over in one.labels else one.name


def holds(rules: Rules, keys: set[RuleKey], on: dict[str, Host], vms: list[Vm], bound: set[str]) -> bool:
    """Whether a way to place these VMs keeps all of the rules `keys`, one after the other as they are meant."""
    for index, pin in enumerate(rules.pins):
        if ("pins", index) in keys and any(not pin.allows(on[name].name) for name in meant((pin.vm,), vms)):
            return False
    for index, rule in enumerate(rules.affinity):
        if ("affinity", index) in keys and len({on[name].name for name in meant(rule.vms, vms)}) > 1:
            return False
    for index, apart in enumerate(rules.anti_affinity):
        if ("anti_affinity", index) not in keys:
            continue
        own = meant(apart.vms, vms)
        places = [place(apart, on[name]) for name in own]
        if apart.against:
            if set(places) & {place(apart, on[name]) for name in meant(apart.against, vms) - own}:
                return False
        elif any(places.count(one) > apart.max_per_host for one in places):
            return False
    return MEMORY not in keys or all(
        sum(one.memory_mib for one in vms if one.name in bound and on[one.name].name == name) <= 8 for name in HOSTS
    )


def possible(rules: Rules, keys: set[RuleKey], vms: list[Vm], hosts: list[Host], bound: set[str]) -> bool:
    ways = product(hosts, repeat=len(vms))
    names = [one.name for one in vms]
    return any(holds(rules, keys, dict(zip(names, way, strict=True)), vms, bound) for way in ways)


@settings(max_examples=150, deadline=None)
@given(RULES, CLUSTERS)
def test_what_is_told_contradicts_and_nothing_can_be_left_out(
    rules: Rules, cluster: tuple[list[Host], list[Vm]]
) -> None:
    hosts, vms = cluster
    keys: set[RuleKey] = {
        (kind, index) for kind in ("pins", "affinity", "anti_affinity") for index in range(len(getattr(rules, kind)))
    }
    selectors = [(pin.vm,) for pin in rules.pins]
    selectors += [one for rule in rules.anti_affinity for one in (rule.vms, rule.against)]
    selectors += [rule.vms for rule in rules.affinity]
    bound = {name for one in selectors for name in meant(one, vms)}
    found = conflicts(rules, vms, hosts)
    assert (found == []) == possible(rules, {*keys, MEMORY}, vms, hosts, bound)
    for conflict in found:
        told, some = set(conflict.rules), [one for one in vms if one.name in conflict.vms]
        assert not possible(rules, told, some, hosts, bound)
        for rule in told:
            assert possible(rules, told - {rule}, vms, hosts, bound)
        for one in some:
            assert possible(rules, told, [other for other in some if other != one], hosts, bound)
