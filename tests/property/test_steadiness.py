"""A settled cluster is left alone: noise, spikes and figures that cannot be move nothing."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from scheduler.cluster.model import Host, Snapshot, Vm
from scheduler.filters.view import View
from scheduler.planner.balance import plan
from scheduler.planner.load import Load
from scheduler.planner.plan import Plan, apply_plan
from scheduler.planner.settings import Objective, PlannerSettings
from tests.bench.clusters import generated
from tests.property import clusters
from tests.unit.clusters import cluster, host, vm

objectives = pytest.mark.parametrize("objective", list(Objective))
ROUNDS = 50


def planned(snapshot: Snapshot, objective: Objective) -> Plan:
    return plan(snapshot, PlannerSettings(objective=objective), clock=lambda: 0.0)


def noisy(vm: Vm, random: Random, ratio: float = 0.05) -> Vm:
    demand = (vm.cpu_demand_cores or 0.0) * random.uniform(1 - ratio, 1 + ratio)
    return replace(vm, cpu_demand_cores=min(float(vm.vcpus), demand))


def held(snapshot: Snapshot, before: Snapshot | None, round_seconds: float = 10.0) -> Snapshot:
    """The snapshot with how long each host has been contended, as the daemon keeps it from one look to the next."""
    contended = Load(View(snapshot), PlannerSettings()).contended
    since = {host.name: host.contended_seconds or 0.0 for host in before.hosts} if before else {}
    seconds = (since.get(host.name, -round_seconds) + round_seconds for host in snapshot.hosts)
    hosts = (
        replace(host, contended_seconds=max(0.0, lasted) if short else 0.0)
        for host, lasted, short in zip(snapshot.hosts, seconds, contended, strict=True)
    )
    return replace(snapshot, hosts=tuple(hosts))


@objectives
@pytest.mark.parametrize(
    ("hosts", "vms", "seeds"), [(3, 40, (6, 8, 22, 25)), (5, 30, (3, 4, 12, 15)), (8, 120, (3, 6))]
)
def test_noise_moves_nothing_once_the_cluster_is_settled(
    objective: Objective, hosts: int, vms: int, seeds: tuple[int, ...]
) -> None:
    for seed in seeds:
        snapshot = generated(hosts, vms, seed=seed, mixed=seed % 2 == 1)
        settled = apply_plan(snapshot, planned(snapshot, objective))
        stays(settled, objective, Random(seed))


def stays(settled: Snapshot, objective: Objective, random: Random) -> None:
    """Nothing moves in many rounds of noise."""
    seen = None
    for number in range(ROUNDS):
        seen = held(replace(settled, vms=tuple(noisy(vm, random) for vm in settled.vms)), seen)
        assert planned(seen, objective).steps == (), f"round {number}"


def spiky(cpu_demand_cores: float) -> Snapshot:
    """Three hosts, the first with that much demand in each of its five VMs."""
    busy = [
        vm(f"busy{n}", "a", vcpus=8, cpu_demand_cores=cpu_demand_cores, cpu_wait_ratio=0.2 * (cpu_demand_cores > 3))
        for n in range(5)
    ]
    return cluster([host("a"), host("b"), host("c")], [*busy, vm("calm", "b")])


def test_spikes_shorter_than_the_hold_move_nothing() -> None:
    seen = None
    for number in range(ROUNDS):
        seen = held(spiky(4.0 if number % 12 else 1.0), seen)
        assert planned(seen, Objective.CONTENTION).steps == (), f"round {number}"


def test_sawtooth_load_settles_instead_of_following_every_tooth() -> None:
    """Two hosts take turns at being busy, for longer than the hold: once spread out, both turns are bearable."""
    hosts = [host("a"), host("b"), host("c")]
    vms = [vm(f"{name}{n}", name, vcpus=4, cpu_demand_cores=1.0) for name in "ab" for n in range(6)]
    state, moved = cluster(hosts, vms), 0
    for number in range(ROUNDS):
        loud = "ab"[number % 2]
        tooth = tuple(
            replace(one, cpu_demand_cores=3.0 if one.name.startswith(loud) else 1.0, cpu_demand_high_cores=3.0)
            for one in state.vms
        )
        made = planned(replace(state, vms=tooth), Objective.CONTENTION)
        state, moved = apply_plan(state, made), moved + len(made.steps)
    assert moved <= len(vms)


@objectives
@pytest.mark.parametrize("wrong", [{"cpu_demand_cores": None}, {"hold": "figures cannot be"}])
def test_figures_that_are_missing_or_not_believed_move_nothing(objective: Objective, wrong: dict[str, object]) -> None:
    snapshot = spiky(4.0)
    assert planned(replace(snapshot, vms=tuple(replace(one, **wrong) for one in snapshot.vms)), objective).steps == ()


@objectives
def test_hosts_whose_figures_are_too_old_neither_give_nor_take(objective: Objective) -> None:
    snapshot = spiky(4.0)
    stale = replace(snapshot, hosts=tuple(replace(one, stale=one.name != "c") for one in snapshot.hosts))
    assert planned(stale, objective).steps == ()


def test_zero_demand_of_all_vms_of_a_busy_host_is_not_believed_to_be_room() -> None:
    """What the host itself uses counts beside its VMs: a sample of zero does not make it a destination."""
    snapshot = spiky(4.0)
    hosts = tuple(replace(one, cpu_used_cores=15.5) if one.name == "b" else one for one in snapshot.hosts)
    vms = tuple(replace(one, cpu_demand_cores=0.0) if one.host == "b" else one for one in snapshot.vms)
    made = planned(replace(snapshot, hosts=hosts, vms=vms), Objective.CONTENTION)
    assert {step.destination for step in made.steps} == {"c"}


def absurd(vm: Vm, kind: int) -> Vm:
    """`vm` with one of its figures as no guest can have it, or not told, or zero."""
    cores = vm.cpu_demand_cores or 1.0
    wrong: list[dict[str, object]] = [
        {"cpu_demand_cores": None},
        {"cpu_demand_cores": 0.0, "cpu_demand_high_cores": 0.0},
        {"cpu_demand_cores": 1024 * max(1.0, cores)},
        {"cpu_demand_cores": 1e300},
        {"cpu_demand_high_cores": 1e300},
        {"memory_mib": vm.memory_mib * 1024},
        {"memory_used_mib": 1e300},
        {"dirty_mib_per_s": 1e300},
    ]
    return replace(vm, **wrong[kind % len(wrong)])


@given(clusters.snapshots(clusters.MOODS[:3]), st.integers(1, 5))
@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
def test_absurd_figures_of_vms_make_no_move_where_there_was_none(snapshot: Snapshot, every: int) -> None:
    """What each host uses in all has been measured, as the daemon does it."""
    measured = measured_hosts(snapshot)
    assume(not planned(measured, Objective.CONTENTION).steps)
    vms = (absurd(one, number) if number % every == 0 else one for number, one in enumerate(measured.vms))
    assert planned(replace(measured, vms=tuple(vms)), Objective.CONTENTION).steps == ()


def measured_hosts(snapshot: Snapshot) -> Snapshot:
    def used(host: Host) -> float:
        of = [vm for vm in snapshot.vms if vm.active and vm.host == host.name]
        return sum((vm.cpu_demand_cores or 0.0) - (vm.cpu_wait_ratio or 0.0) * vm.vcpus for vm in of)

    hosts = (replace(host, cpu_used_cores=min(float(host.cpus), max(0.0, used(host)))) for host in snapshot.hosts)
    return replace(snapshot, hosts=tuple(hosts))


@objectives
@pytest.mark.parametrize(
    "wrong", [{"memory_mib": 65536 * 1024}, {"cpus": 16 * 1024}, {"cpu_used_cores": 1e300}, {"cpu_used_cores": 1600.0}]
)
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_host_with_absurd_figures_neither_gives_nor_takes(
    objective: Objective, wrong: dict[str, object], name: str
) -> None:
    snapshot = spiky(4.0)
    hosts = tuple(replace(one, **wrong) if one.name == name else one for one in snapshot.hosts)
    made = planned(replace(snapshot, hosts=hosts), objective)
    assert name not in {end for step in made.steps for end in (step.source, step.destination)}


@objectives
def test_nothing_goes_where_nobody_knows_what_is_used(objective: Objective) -> None:
    """Of the VMs on b no demand is told, nor what b uses in all."""
    snapshot = spiky(4.0)
    vms = tuple(replace(one, cpu_demand_cores=None) if one.host == "b" else one for one in snapshot.vms)
    made = planned(replace(snapshot, vms=vms), objective)
    assert {step.destination for step in made.steps} <= {"c"}
