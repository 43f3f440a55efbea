"""What would have to change for a host to take a VM: all of it, truly, the cheapest first."""

from typing import Any

import pytest

from scheduler.cluster.model import HostState, Snapshot
from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Rules
from scheduler.filters import registry
from scheduler.filters.view import View
from scheduler.planner.relaxation import _RELAX, COST_ORDER, changes, cost
from tests.unit.clusters import cluster, host, vm


def needed(snapshot: Snapshot, name: str = "web1", on: str = "b") -> list[tuple[str, str]]:
    view = View(snapshot)
    need = view.need(view.vm_index(f"uuid-{name}"))
    return [(change.code, change.text) for change in changes(view, need, view.host_index[on])]


def one(rules: Rules | None = None, other: dict[str, Any] | None = None, **facts: Any) -> Snapshot:
    return cluster([host("a"), host("b", **other or {})], [vm("web1", "a", **facts), vm("web2", "b")], rules)


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (one(), []),
        (one(Rules(pins=(Pin("web1", ("a",)),))), [("pinned", "the pin of web1 to a were soft")]),
        (
            one(Rules(anti_affinity=(AntiAffinity(("web*",)),))),
            [("anti_affinity", "the anti-affinity of web* were soft")],
        ),
        (one(other={"memory_mib": 7168}), [("memory_short", "b had 1,024 MiB more free")]),
        (one(other={"state": HostState.MAINTENANCE}), [("host_state", "b were up and in service")]),
        (one(other={"stale": True}), [("host_stale", "fresh figures of b were there")]),
        (one(other={"cpu_used_cores": 1e6}), [("host_implausible", "b told what can be")]),
        (one(defined_on=("a", "b")), [("already_defined", "the other definition on b were gone")]),
        (
            one(other={"cpu_features": frozenset({"sse"})}, required_cpu_features=frozenset({"avx2"})),
            [("cpu_missing", "the VM's CPU asked for less (CPU lacks avx2)")],
        ),
        (one(movable=False, blockers=("a disk", "a GPU")), [("not_movable", "it were without a disk, a GPU")]),
        (one(movable=False), [("not_movable", "it were marked as movable")]),
        (
            one(other={"networks": frozenset({"bridge:br0"})}, networks=frozenset({"bridge:br0", "network:san"})),
            [("network_missing", "b had network:san")],
        ),
        (
            one(other={"storage": frozenset[str]()}, storage=frozenset({"ceph"})),
            [("storage_missing", "b had the storage pool ceph")],
        ),
        (
            one(other={"machine_types": frozenset({"q35"})}, machine_type="pc"),
            [("machine_type", "the QEMU of b offered the machine type pc")],
        ),
        (one(other={"domain_types": frozenset({"qemu"})}, domain_type="kvm"), [("domain_type", "b offered kvm")]),
    ],
)
def test_each_filter(snapshot: Snapshot, expected: list[tuple[str, str]]) -> None:
    assert needed(snapshot) == expected


def test_an_older_hypervisor() -> None:
    hosts = [host("a", hypervisor_version="8.2.0"), host("b", hypervisor_version="7.2.0")]
    expected = [("hypervisor_older", "b had the QEMU and libvirt of where it runs, or newer")]
    assert needed(cluster(hosts, [vm("web1", "a")])) == expected


def test_an_affinity() -> None:
    vms = [vm("web1", "a"), vm("web2", "a"), vm("web3", "b")]
    rules = Rules(affinity=(Affinity(("web1", "web2")),))
    assert needed(cluster([host("a"), host("b")], vms, rules)) == [("affinity", "the affinity of web1, web2 were soft")]


def test_all_that_must_change_is_told_the_cheapest_first() -> None:
    rules = Rules(pins=(Pin("web1", ("a",)), Pin("web*", ("a",))))
    found = needed(one(rules, other={"memory_mib": 7168, "stale": True}))
    assert [code for code, _ in found] == ["host_stale", "pinned", "pinned", "memory_short"]


def test_a_rule_costs_less_than_memory_and_less_memory_less_than_more() -> None:
    def of(snapshot: Snapshot) -> tuple[list[int], int]:
        view = View(snapshot)
        return cost(changes(view, view.need(0), 1))

    pinned = of(one(Rules(pins=(Pin("web1", ("a",)),))))
    assert of(one()) < pinned < of(one(other={"memory_mib": 7168})) < of(one(other={"memory_mib": 6144}))


def test_every_filter_has_something_that_could_change_and_its_place_in_the_order_of_costs() -> None:
    codes = {rule.CODE for rule in registry.FILTERS}
    assert codes == set(_RELAX)
    assert codes <= set(COST_ORDER)
