"""Scenarios that need time: what the daemon follows of the ups and downs of load over hours, and what it lets pass."""

import asyncio
from collections.abc import AsyncIterator, Collection
from random import Random

import pytest

from .conftest import AT_ONCE, AUTO, House

CALM, PEAK = 1.0, 4.0
NO_MEMORY = AT_ONCE + 'cooldown = "0s"\nreverse_ban = "0s"\n'
"""Nothing but the planner's own judgement keeps a VM from being moved again, or back."""


@pytest.fixture(autouse=True)
async def _quick() -> AsyncIterator[None]:
    """Without the debug mode that all shorter tests run in: over hours of looks it takes two thirds of the time."""
    loop = asyncio.get_running_loop()
    loop.set_debug(False)
    yield
    loop.set_debug(True)


def peaking_host(house: House) -> list[str]:
    """Two VMs on node1 that use 2 of its 8 cores, beside another's 2, and want 8 when they peak."""
    house.vm("steady", "node1", cores=2.0)
    return [house.vm(name, "node1", cores=CALM) for name in ("shop", "search")]


async def burst(house: House, uuids: Collection[str], seconds: float) -> None:
    for uuid in uuids:
        house.cluster.set_demand(uuid, PEAK)
    await house.clock.advance(seconds)
    for uuid in uuids:
        house.cluster.set_demand(uuid, CALM)


async def test_peaks_that_come_again_are_relieved_although_none_outlasts_the_hold(house: House):
    uuids = peaking_host(house)
    await house.go()
    await house.clock.advance(120)
    for number in range(6):
        await burst(house, uuids, 70)
        await house.clock.advance(230)
        assert number > 2 or await house.ways() == []
    [(vm, source, _, trigger)] = await house.ways()
    assert (vm in {"shop", "search"}, source, trigger) == (True, "node1", "balance")
    for _ in range(3):
        await burst(house, uuids, 70)
        await house.clock.advance(230)
    assert len(await house.ways()) == 1


async def test_a_single_burst_moves_nothing_while_the_percentile_remembers_it(house: House):
    uuids = peaking_host(house)
    daemon = await house.go()
    await house.clock.advance(120)
    await burst(house, uuids, 100)
    await house.clock.advance(700)
    assert (daemon.service.snapshot().host("node1").expected_contended_seconds or 0) > 600
    await house.clock.advance(1100)
    assert not daemon.service.snapshot().host("node1").expected_contended_seconds
    assert await house.ways() == []


async def test_noise_on_constant_load_moves_nothing_once_settled(house: House):
    """300 looks, 50 sweeps. The first plan leaves node1 with 7.18 of the 7.2 cores up to which a host may be used."""
    random = Random(7)
    uuids = [house.vm(f"web{n}", "node1" if n < 9 else f"node{2 + n % 2}", cores=1.025) for n in range(17)]
    await house.go(AUTO + NO_MEMORY)
    await house.clock.advance(300)
    settled = await house.ways()
    assert settled
    for _ in range(300):
        for uuid in uuids:
            house.cluster.set_demand(uuid, 1.025 * random.uniform(0.95, 1.05))
        await house.clock.advance(10)
    assert await house.ways() == settled
