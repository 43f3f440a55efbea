"""Snapshots as JSON: what is written is read again, and every mistake is told with its place."""

import json
from dataclasses import replace
from typing import Any

import pytest

from scheduler.cluster.codec import SnapshotError, dump_snapshot, load_snapshot, load_vm, load_vms, snapshot_schema
from scheduler.cluster.model import Host, HostState, VmState
from scheduler.cluster.rules import Pin
from scheduler.cluster.settings import Objective, PlannerSettings
from tests.unit.clusters import cluster

CONTRACT = """
{"version": 1, "taken_at": "2026-11-23T10:00:00Z",
 "hosts": [{"name": "node1", "state": "up", "cpus": 32, "memory_mib": 131072, "reserved_memory_mib": 2048,
            "cpu_used_cores": 12.5, "cpu_features": ["aes", "avx2"], "labels": {"rack": "a"}}],
 "vms": [{"name": "web1", "uuid": "4c4c4544", "host": "node1", "state": "running", "vcpus": 4, "memory_mib": 8192,
          "cpu_demand_cores": 2.5, "cpu_wait_ratio": 0.01, "dirty_mib_per_s": 3.0,
          "required_cpu_features": ["avx2"], "movable": true, "labels": {}}],
 "rules": {"pins": [], "anti_affinity": [], "affinity": []}}
"""


def changed(path: str, value: Any) -> str:
    """The contract's snapshot with one value put at `path`, as in `vms.0.vcpus`."""
    data = json.loads(CONTRACT)
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    target = data
    for parent in parents:
        target = target[parent]
    if isinstance(target, list):
        target.append(value)
    else:
        target[last] = value
    return json.dumps(data)


def test_the_contract_is_read_and_written_again() -> None:
    snapshot = load_snapshot(CONTRACT, "contract")
    assert snapshot.hosts[0].state is HostState.UP
    assert snapshot.vms[0].required_cpu_features == {"avx2"}
    assert load_snapshot(dump_snapshot(snapshot), "written") == snapshot


def test_the_same_snapshot_gives_the_same_text_with_sets_in_order() -> None:
    first = changed("hosts.0.cpu_features", ["fma", "aes", "avx2", "bmi2"])
    second = changed("hosts.0.cpu_features", ["bmi2", "avx2", "fma", "aes"])
    written = dump_snapshot(load_snapshot(first, ""))
    assert written == dump_snapshot(load_snapshot(second, ""))
    assert json.loads(written)["hosts"][0]["cpu_features"] == ["aes", "avx2", "bmi2", "fma"]
    assert "cpu_model" not in written


def test_a_name_stands_for_a_uuid_that_is_absent() -> None:
    data = json.loads(CONTRACT)
    del data["vms"][0]["uuid"]
    assert load_snapshot(json.dumps(data), "").vms[0].uuid == "web1"


def test_a_host_that_was_never_seen_has_neither_cpus_nor_memory() -> None:
    unseen = Host(name="late", cpus=0, memory_mib=0, state=HostState.UNREACHABLE, stale=True)
    written = dump_snapshot(cluster([unseen], []))
    assert load_snapshot(written, "written").hosts == (unseen,)
    with pytest.raises(SnapshotError, match=r"hosts\[0\]\.cpus: is 0"):
        load_snapshot(written.replace("unreachable", "up"), "written")


def test_rules_are_read() -> None:
    pin = {"vm": "db-*", "hosts": ["node1", "node2"], "strength": "must"}
    assert load_snapshot(changed("rules.pins.0", pin), "").rules.pins == (Pin("db-*", ("node1", "node2")),)


def test_a_vm_has_its_own_priority_or_that_of_the_first_rule_that_means_it() -> None:
    rules = [{"vms": ["web*"], "priority": 2}, {"vms": ["*"], "priority": -1}]
    told = load_snapshot(changed("rules.priorities", rules), "")
    assert told.priority(told.vm("web1")) == 2
    assert told.priority(replace(told.vm("web1"), name="db1")) == -1
    assert told.priority(replace(told.vm("web1"), priority=1)) == 1
    assert load_snapshot(CONTRACT, "").priority(told.vm("web1")) == 0
    assert load_snapshot(dump_snapshot(told), "") == told


VM = {"name": "web2", "uuid": "other", "host": "node1", "vcpus": 1, "memory_mib": 1}
LINK = {"source": "node1", "destination": "node1", "bandwidth_mib_per_s": 100, "overhead_seconds": 2}
MISTAKES = [
    ("vms.0.vcpus", "4", 'vms[0].vcpus: input should be a valid integer, not "4"'),
    ("vms.0.memory_mib", -1, "vms[0].memory_mib: is -1, allowed is 1 or more"),
    ("vms.0.cpu_demand_cores", -0.5, "vms[0].cpu_demand_cores: is -0.5, allowed is 0 or more"),
    ("vms.0.cpu_wait_ratio", 1.5, "vms[0].cpu_wait_ratio: is 1.5, allowed is 0 to 1"),
    ("vms.0.cpu_demand_cores", float("nan"), "vms[0].cpu_demand_cores: input should be a finite number, not NaN"),
    ("vms.0.cpu_demand_cores", float("inf"), "vms[0].cpu_demand_cores: input should be a finite number, not Infinity"),
    ("vms.0.host", "node9", "vms[0].host: 'node9' is not among the hosts"),
    ("vms.0.host", None, "vms[0].host: is missing, and a running VM is on a host"),
    ("vms.0.destination", "node9", "vms[0].destination: 'node9' is not among the hosts"),
    ("vms.1", VM | {"uuid": "4c4c4544"}, "vms[1].uuid: '4c4c4544' is that of vms[0] too, and must be its own"),
    ("vms.1", 7, "vms[1]: input should be an object, not 7"),
    (
        "hosts.1",
        {"name": "node1", "cpus": 1, "memory_mib": 1},
        "hosts[1].name: 'node1' is that of hosts[0] too, and must be its own",
    ),
    ("hosts.0.state", "down", "hosts[0].state: input should be 'up', 'maintenance' or 'unreachable', not \"down\""),
    ("hosts.0.cpus", 0, "hosts[0].cpus: is 0, allowed is 1 or more"),
    ("hosts.0.cpus", True, "hosts[0].cpus: input should be a valid integer, not true"),
    ("hosts.0.reserved_memory_mib", 131073, "hosts[0].reserved_memory_mib: is more than the 131072 of memory_mib"),
    ("rules.pins.0", {"vm": "a", "hosts": [], "host": []}, "unknown field, allowed are vm, hosts, strength"),
    ("rules.anti_affinity.0", {"vms": ["a"], "max_per_host": 0}, "max_per_host: is 0, allowed is 1 or more"),
    (
        "rules.anti_affinity.0",
        {"vms": ["a"], "against": ["b"], "max_per_host": 2},
        "rules.anti_affinity[0].max_per_host: is 2, allowed beside against is 1",
    ),
    (
        "rules.anti_affinity.0",
        {"vms": ["a"], "against": "b"},
        "rules.anti_affinity[0].against: input should be a valid",
    ),
    ("rules.priorities", [{"vms": ["a"], "priority": 3}], "rules.priorities[0].priority: is 3, allowed is -2 to 2"),
    ("rules.priorities", [{"vm": "a", "priority": 1}], "unknown field, allowed are vms, priority (and 1 more)"),
    ("rules.priorities", [{"vms": ["a"]}], "rules.priorities[0].priority: is missing"),
    ("vms.0.priority", -3, "vms[0].priority: is -3, allowed is -2 to 2"),
    ("vms.0.priority", 0.5, "vms[0].priority: input should be a valid integer"),
    ("links", [LINK | {"destination": "node9"}], "links[0].destination: 'node9' is not among the hosts"),
    ("links", [LINK, LINK], "links[1].destination: 'node1 to node1' is that of links[0] too, and must be its own"),
    ("links", [LINK | {"bandwidth_mib_per_s": 0}], "links[0].bandwidth_mib_per_s: is 0.0, allowed is 1 or more"),
    ("links", [LINK | {"overhead_seconds": -1}], "links[0].overhead_seconds: is -1.0, allowed is 0 or more"),
    ("version", 2, "version: is 2, only 1 is known"),
    ("taken_at", "2026-11-23T10:00:00", "taken_at: has no time zone, end it with Z or an offset"),
    ("surprise", 1, "surprise: unknown field, allowed are taken_at, hosts, vms, rules, links, version"),
]


def test_settings_and_drain_are_read_and_written_again() -> None:
    settings = PlannerSettings(
        objective=Objective.SPREAD, max_moves=3, weights={"cpu": 2.0, "memory": 0.0, "vcpus": 1.0}
    )
    snapshot = replace(load_snapshot(CONTRACT, ""), settings=settings, drain=("node1",))
    assert load_snapshot(dump_snapshot(snapshot), "written") == snapshot
    some = json.loads(CONTRACT) | {"settings": {"horizon_seconds": 60}}
    assert load_snapshot(json.dumps(some), "").settings == PlannerSettings(horizon_seconds=60.0)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("drain", ["node9"], "drain[0]: 'node9' is not among the hosts"),
        ("settings", {"objectiv": "pack"}, "settings.objectiv: unknown field, allowed are objective, hold_seconds"),
        ("settings", {"objective": "best"}, "settings.objective: "),
        ("settings", {"minimum_gain_ratio": 2.0}, "settings.minimum_gain_ratio: is 2.0, allowed is 0 to 1"),
        ("settings", {"max_inbound": 0}, "settings.max_inbound: is 0, allowed is 1 or more"),
        ("settings", {"weights": {"cpu": 1.0}}, "settings.weights: lacks memory, vcpus"),
        ("settings", {"weights": {"disk": 1.0}}, "settings.weights.disk: is unknown, allowed are cpu, memory, vcpus"),
        ("settings", {"weights": {"cpu": -1.0}}, "settings.weights.cpu: is -1.0, allowed is 0 or more"),
    ],
)
def test_a_mistake_in_settings_or_drain_is_told(key: str, value: Any, expected: str) -> None:
    with pytest.raises(SnapshotError) as refused:
        load_snapshot(json.dumps(json.loads(CONTRACT) | {key: value}), "file")
    assert str(refused.value).startswith(f"file: {expected}")


@pytest.mark.parametrize(("path", "value", "expected"), MISTAKES)
def test_a_mistake_is_told_in_one_line_with_its_place(path: str, value: Any, expected: str) -> None:
    with pytest.raises(SnapshotError) as caught:
        load_snapshot(changed(path, value), "cluster.json")
    assert str(caught.value).startswith("cluster.json: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_field_is_told_before_the_one_it_leaves_missing() -> None:
    text = CONTRACT.replace('"vcpus"', '"vcpu"')
    with pytest.raises(SnapshotError, match=r"vms\[0\].vcpu: unknown field, allowed are name, uuid, vcpus"):
        load_snapshot(text, "cluster.json")


@pytest.mark.parametrize("text", ["", "{", "[1, 2", b"\xff\xfe"])
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(SnapshotError, match=r"cluster\.json: not JSON: "):
        load_snapshot(text, "cluster.json")


@pytest.mark.parametrize("text", ["[]", "null", "3", '"text"'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(SnapshotError, match=r"cluster.json: .*object"):
        load_snapshot(text, "cluster.json")


def test_a_vm_to_place_is_read() -> None:
    vm = load_vm('{"name": "new", "vcpus": 2, "memory_mib": 2048, "state": "stopped"}', "vm.json")
    assert (vm.uuid, vm.host, vm.state) == ("new", None, VmState.STOPPED)


def test_mistakes_in_lists_of_vms_name_the_vm() -> None:
    good = {"name": "new", "vcpus": 2, "memory_mib": 2048}
    assert len(load_vms(json.dumps([good, good | {"name": "newer"}]), "vms.json")) == 2
    with pytest.raises(SnapshotError, match=r"vms.json: \[1\].vcpus: is 0, allowed is 1 or more"):
        load_vms(json.dumps([good, good | {"vcpus": 0}]), "vms.json")
    with pytest.raises(SnapshotError, match=r"vms.json: \[1\].cpus: unknown field"):
        load_vms(json.dumps([good, good | {"cpus": 1}]), "vms.json")


def test_the_schema_describes_every_field_and_no_more() -> None:
    schema = snapshot_schema()
    vm = schema["$defs"]["Vm"]
    assert vm["additionalProperties"] is False
    assert sorted(vm["required"]) == ["memory_mib", "name", "vcpus"]
    assert vm["properties"]["hold"]["description"].startswith("Why balancing leaves it alone")
    assert set(json.loads(CONTRACT)["vms"][0]) <= set(vm["properties"])
