"""A drain takes the shortest time there is: held against every way to batch it, on small clusters with room."""

from collections.abc import Iterator
from functools import cache
from itertools import combinations, permutations
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.cluster.model import Snapshot
from scheduler.cluster.rules import Pin, Rules
from scheduler.filters.view import View
from scheduler.planner.balance import plan
from scheduler.planner.cost import Pace, predict
from scheduler.planner.departure import least_seconds
from scheduler.planner.load import Load
from scheduler.planner.settings import PlannerSettings
from tests.unit.clusters import cluster, host, vm

SETTINGS = PlannerSettings()
PACE = Pace(SETTINGS.bandwidth_mib_per_s)


def small(random: Random) -> Snapshot:
    """One or two hosts to drain with up to six VMs of unlike sizes, and two to four hosts that all have room."""
    drained = [f"old{n}" for n in range(random.randint(1, 2))]
    others = [f"new{n}" for n in range(random.randint(2, 4))]
    hosts = [host(name, memory_mib=1_000_000, cpus=200) for name in (*drained, *others)]
    vms = [
        vm(f"vm{n}", random.choice(drained), memory_mib=random.choice((1, 2, 4, 8, 16, 32)) * 1024)
        for n in range(random.randint(1, 6))
    ]
    pinned = [one.name for one in vms if random.random() < 0.3]
    pins = tuple(Pin(name, (*drained, *random.sample(others, random.randint(1, 2)))) for name in pinned)
    return cluster(hosts, vms, Rules(pins=pins))


def shortest(snapshot: Snapshot) -> float:
    """The least seconds of any batches: each VM once, two off a host and one to a host at a time."""
    seconds = [predict(one, PACE).seconds for one in snapshot.vms]
    news = [host.name for host in snapshot.hosts if host.name.startswith("new")]
    allowed = [
        {name for name in news if all(pin.allows(name) for pin in snapshot.rules.pins if pin.vm == one.name)}
        for one in snapshot.vms
    ]

    def batches(left: frozenset[int]) -> Iterator[frozenset[int]]:
        for size in range(1, len(left) + 1):
            for batch in combinations(sorted(left), size):
                sources = [snapshot.vms[index].host for index in batch]
                if all(sources.count(source) <= SETTINGS.max_outbound for source in sources) and any(
                    all(name in allowed[index] for index, name in zip(batch, names, strict=True))
                    for names in permutations(news, size)
                ):
                    yield frozenset(batch)

    @cache
    def least(left: frozenset[int]) -> float:
        return min((max(seconds[i] for i in batch) + least(left - batch) for batch in batches(left)), default=0.0)

    return least(frozenset(range(len(snapshot.vms))))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1_000_000))
def test_a_drain_with_room_takes_little_longer_than_the_best_there_is(seed: int) -> None:
    snapshot = small(Random(seed))
    drained = [host.name for host in snapshot.hosts if host.name.startswith("old")]
    made = plan(snapshot, SETTINGS, clock=lambda: 0.0, drain=drained)
    assert made.unmoved == ()
    best = shortest(snapshot)
    assert best - 1e-6 <= made.total_seconds <= 1.25 * best
    load = Load(View(snapshot), SETTINGS)
    load.view.up = np.array([host.name not in drained for host in snapshot.hosts])
    assert least_seconds(load, {n: predict(one, PACE).seconds for n, one in enumerate(snapshot.vms)}) <= best + 1e-6


def test_on_the_whole_it_is_the_best_there_is() -> None:
    ratios = []
    for seed in range(60):
        snapshot = small(Random(seed))
        drained = [host.name for host in snapshot.hosts if host.name.startswith("old")]
        made = plan(snapshot, SETTINGS, clock=lambda: 0.0, drain=drained)
        ratios.append(made.total_seconds / shortest(snapshot))
    assert sum(ratios) / len(ratios) <= 1.01
