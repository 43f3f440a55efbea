"""Capacity, held against placing one VM after the other and against every way to start the VMs of a lost host."""

from dataclasses import replace
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from scheduler.cluster.model import Snapshot, Vm, VmState
from scheduler.planner.capacity import capacity
from scheduler.planner.settings import PlannerSettings
from tests.property.clusters import Mood, plain
from tests.property.clusters import cluster as generated
from tests.property.losses import TooManyWaysError, borne
from tests.property.test_plans import LAWFUL, laws
from tests.unit.clusters import cluster, host, vm

SETTINGS = PlannerSettings()


@st.composite
def tight(draw: st.DrawFn) -> tuple[Snapshot, Vm]:
    """Two to four hosts of 8 GiB with VMs that only memory concerns, and one more VM."""
    names = [f"h{number}" for number in range(draw(st.integers(2, 4)))]
    sizes = [draw(st.lists(st.integers(1, 5), max_size=3)) for _ in names]
    vms = [
        vm(f"{name}-{number}", name, memory_mib=1024 * size, cpu_demand_cores=0.1)
        for name, of_host in zip(names, sizes, strict=True)
        for number, size in enumerate(of_host)
        if sum(of_host[: number + 1]) <= 8
    ]
    more = vm("more", memory_mib=1024 * draw(st.integers(1, 4)), cpu_demand_cores=0.1)
    return cluster([host(name, memory_mib=8192) for name in names], vms), more


def most_after(snapshot: Snapshot, lost: str, memory_mib: int) -> int | None:
    """The most that fit beside the lost host's VMs, of all ways to start these; None when there is no way."""
    left = {one.name: one.memory_mib for one in snapshot.hosts if one.name != lost}
    for one in snapshot.vms:
        if one.host != lost:
            left[one.host or ""] -= one.memory_mib
    homeless = [one.memory_mib for one in snapshot.vms if one.host == lost]
    most = None
    for way in product(left, repeat=len(homeless)):
        rest = dict(left)
        for name, size in zip(way, homeless, strict=True):
            rest[name] -= size
        if min(rest.values()) >= 0:
            most = max(most or 0, sum(free // memory_mib for free in rest.values()))
    return most


@laws
@given(tight())
def test_what_fits_after_the_worst_loss_is_what_some_way_leaves(made: tuple[Snapshot, Vm]) -> None:
    snapshot, more = made
    found = capacity(snapshot, more, SETTINGS)
    ways = {one.name: most_after(snapshot, one.name, more.memory_mib) for one in snapshot.hosts}
    possible = [most for most in ways.values() if most is not None]
    assert found.worst_loss in ways
    if found.homeless_after_loss == 0:
        assert len(possible) == len(ways)
        assert found.fits_after_loss <= min(possible)
    else:
        assert found.fits_after_loss == 0


@laws
@given(tight())
def test_as_many_fit_as_memory_holds(made: tuple[Snapshot, Vm]) -> None:
    snapshot, more = made
    free = {one.name: one.memory_mib for one in snapshot.hosts}
    for one in snapshot.vms:
        free[one.host or ""] -= one.memory_mib
    found = capacity(snapshot, more, SETTINGS)
    assert {one.host: one.fits for one in found.hosts} == {name: mib // more.memory_mib for name, mib in free.items()}


@laws
@given(st.integers(2, 5), st.integers(0, 12), st.sampled_from(LAWFUL), st.integers(0, 1_000_000))
def test_under_all_rules_a_loss_that_is_said_to_be_borne_is(hosts: int, vms: int, mood: Mood, seed: int) -> None:
    snapshot = plain(generated(hosts, vms, mood, seed, ruled=True))
    more = replace(vm("more"), state=VmState.STOPPED)
    if capacity(snapshot, more, SETTINGS).homeless_after_loss:
        return
    try:
        for one in snapshot.hosts:
            if one.state == "up":
                assert borne(snapshot, one.name, {other.name for other in snapshot.hosts})
    except TooManyWaysError:
        return
