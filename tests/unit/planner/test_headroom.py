"""Room for large VMs is kept as the cluster fills, and a loss that could be borne is not given away."""

from random import Random

import pytest

from scheduler.cluster.model import Snapshot, VmState
from scheduler.filters.view import View
from scheduler.planner import headroom
from scheduler.planner.load import Load
from scheduler.planner.placement import place
from scheduler.planner.settings import Objective, PlannerSettings
from tests.unit.clusters import cluster, host, vm

SETTINGS = PlannerSettings()


def loaded(snapshot: Snapshot) -> tuple[Load, int]:
    load = Load(View(snapshot), SETTINGS)
    return load, load.add(vm("new", memory_mib=8192, state=VmState.STOPPED))


def half_full() -> Snapshot:
    large = [vm(f"large{n}", "a", memory_mib=24576) for n in range(2)]
    return cluster([host("a"), host("b"), host("c")], [*large, vm("b0", "b", memory_mib=36864)])


def test_the_last_room_for_a_large_vm_is_kept() -> None:
    snapshot = half_full()
    assert place(snapshot, [vm("new", memory_mib=16384)], SETTINGS)[0].host == "a"
    load, new = loaded(snapshot)
    lost = dict(zip((one.name for one in load.view.hosts), headroom.slots_lost(load, new), strict=True))
    # Of 24 GiB three fit, of 36 GiB one; 8 GiB more on c cost nothing yet, on b and on a they do.
    assert lost == pytest.approx({"a": 0.0, "b": 2 / 3 / 3, "c": 0.0})


def test_spread_is_not_drawn_to_filled_hosts() -> None:
    snapshot = cluster([host("a"), host("b")], [vm("a0", "a", memory_mib=49152), vm("b0", "b", memory_mib=16384)])
    by_spread = place(snapshot, [vm("new")], PlannerSettings(objective=Objective.SPREAD))[0]
    assert {ranked.terms["consolidation"] for ranked in by_spread.ranking} == {0.0}


def test_a_loss_that_can_be_borne_stays_so() -> None:
    load, new = loaded(cluster([host("a"), host("b")], [vm(f"a{n}", "a", memory_mib=8192) for n in range(7)]))
    # On a it would be one VM too many for b; on b it would be lost with b, and take the room of those on a.
    assert headroom.losses_not_borne(load, new).tolist() == [1.0, 2.0]
    assert headroom.losses_not_borne(*loaded(cluster([host("a"), host("b")], []))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("seed", range(20))
def test_a_loss_that_is_not_counted_is_borne_in_any_order(seed: int) -> None:
    random = Random(seed)
    names = [f"host{n}" for n in range(random.randint(3, 8))]
    vms = [vm(f"vm{n}", random.choice(names), memory_mib=random.choice((2, 4, 8)) * 1024) for n in range(20)]
    load, new = loaded(cluster([host(name) for name in names], vms))
    for place_there, broken in enumerate(headroom.losses_not_borne(load, new)):
        after = load.copy()
        after.move(new, place_there)
        survived = sum(fits_elsewhere(after, lost, random) for lost in range(len(names)))
        # Where all could be borne before, what is not counted as broken is borne, whatever the order.
        assert survived >= len(names) - broken


def fits_elsewhere(load: Load, lost: int, random: Random) -> bool:
    view, free = load.view, load.view.free_memory_mib.tolist()
    free[lost] = 0
    leaving = view.memory_mib[view.active & (view.vm_host == lost)].tolist()
    random.shuffle(leaving)
    for size in leaving:
        fitting = [place for place, room in enumerate(free) if room >= size]
        if not fitting:
            return False
        free[random.choice(fitting)] -= size
    return True
