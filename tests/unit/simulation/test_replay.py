"""Replays: what is counted, what our daemon and the policies of others make of a hot host, and that it repeats."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from scheduler.cli.simulate import OTHERS, SHOWN
from scheduler.cluster.model import Host, Snapshot, Vm
from scheduler.cluster.rules import Pin, Rules
from scheduler.config.models import Config
from scheduler.simulation.follower import Follower
from scheduler.simulation.load import table_of
from scheduler.simulation.loop import run
from scheduler.simulation.meter import Figures
from scheduler.simulation.own import OwnDaemon, config_for
from scheduler.simulation.policies import POLICIES, Nothing
from scheduler.simulation.replay import replay
from scheduler.simulation.scene import Scene

QUICK = [name for name in POLICIES if name not in {"none", "hbal", "proxlb-like"}]
"""Those that act within half an hour, and are always there."""


def cluster(*, cores: float = 3.0, vms: int = 4, rules: Rules | None = None) -> Snapshot:
    """Three hosts of 8 cores; all VMs on the first."""
    hosts = tuple(Host(name=f"node{n}", cpus=8, memory_mib=16384) for n in range(1, 4))
    guests = tuple(
        Vm(name=f"vm{n}", uuid=f"u{n}", vcpus=4, memory_mib=1024, host="node1", cpu_demand_cores=cores)
        for n in range(vms)
    )
    taken_at = datetime(2026, 11, 24, tzinfo=UTC)
    return Snapshot(taken_at=taken_at, hosts=hosts, vms=guests, rules=rules or Rules())


def replayed(
    snapshot: Snapshot, name: str, *, minutes: float = 20, failing_ratio: float = 0.0, seed: int = 1
) -> Figures:
    written = Config.model_validate({"limits": {"warm_up": "0s", "max_moved_per_hour": 1.0}})
    config = config_for(snapshot, written)
    steering = OwnDaemon(config) if name == "virt-scheduler" else Follower(POLICIES[name]())
    table = table_of([(0.0, ("u0", 3.0, None, None)), (minutes * 30, ("u0", 3.0, None, None))])
    scene = Scene(snapshot, config.to_planner_settings(), seed=seed, failing_ratio=failing_ratio)
    return run(replay(scene, table, steering)).figures


def test_what_nobody_helps_is_counted_in_full():
    """12 cores wanted of 8 for 20 minutes: 4 VMs wait all the time, 4 cores are not served."""
    found = replayed(cluster(), "none")
    assert found.contention_vm_minutes == pytest.approx(80)
    assert found.unserved_core_minutes == pytest.approx(80)
    assert found.overloaded_host_minutes == pytest.approx(20)
    assert (found.migrations, found.hosts_empty, found.hot_spots) == (0, 2.0, 1)
    assert found.relief_seconds_max == pytest.approx(1200)


def test_demand_is_never_more_than_the_vcpus_and_a_calm_cluster_is_left_alone():
    assert replayed(cluster(vms=1, cores=50.0), "none").unserved_core_minutes == 0
    assert replayed(cluster(cores=1.0), "virt-scheduler").migrations == 0


def test_our_daemon_relieves_within_the_hold_and_the_migrations():
    found = replayed(cluster(), "virt-scheduler")
    assert found.migrations == 2
    assert found.reverse_moves == 0
    assert found.relief_seconds_max is not None
    assert found.relief_seconds_max <= 120 + 20 + 2 * 20
    assert found.gib_moved == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", QUICK)
def test_others_relieve_too(name: str):
    found = replayed(cluster(), name, minutes=40)
    assert found.migrations >= 1
    assert found.contention_vm_minutes < replayed(cluster(), "none", minutes=40).contention_vm_minutes


@pytest.mark.parametrize("name", ["virt-scheduler", *QUICK])
def test_a_pinned_vm_stays_whoever_steers(name: str):
    pinned = cluster(rules=Rules(pins=(Pin("vm*", ("node1",)),)))
    config = config_for(pinned, None)
    scene = Scene(pinned, config.to_planner_settings(), seed=1)
    table = table_of([(0.0, ("u0", 3.0, None, None)), (200.0, ("u0", 3.0, None, None))])
    steering = OwnDaemon(config) if name == "virt-scheduler" else Follower(POLICIES[name]())
    assert run(replay(scene, table, steering)).figures.migrations == 0


def test_migrations_fail_as_often_as_told_and_the_same_each_time():
    once = replayed(cluster(), "virt-scheduler", minutes=8, failing_ratio=0.5, seed=3)
    assert once == replayed(cluster(), "virt-scheduler", minutes=8, failing_ratio=0.5, seed=3)
    never = replayed(cluster(), "virt-scheduler", minutes=6, failing_ratio=1.0)
    assert (never.migrations, never.migrations_failed > 0) == (0, True)


def test_the_snapshot_brings_its_rules_and_settings_unless_a_config_is_given():
    pinned = cluster(rules=Rules(pins=(Pin("vm1", ("node1",)),)))
    settings = replace(Config().to_planner_settings(), hold_seconds=30.0)
    taken = config_for(replace(pinned, settings=settings), None)
    assert taken.to_rules() == pinned.rules
    assert taken.to_planner_settings() == settings
    assert config_for(pinned, Config()).to_rules() == Rules()


def test_every_policy_is_named_for_the_command_and_names_its_source():
    assert tuple(POLICIES) == OTHERS
    assert all(policy().source for policy in POLICIES.values())
    assert Nothing().period_s > 0
    assert set(SHOWN) | {"simulated_hours"} == set(Figures.__dataclass_fields__)
