"""How much memory guests write is sampled rarely, one at a time, and never of one that migrates or boots."""

import asyncio
from itertools import pairwise

import pytest

from scheduler.cluster.ports import MigrationOptions
from scheduler.daemon.daemon import Daemon
from scheduler.simulation.cluster import SimulatedCluster

from .conftest import House


class Sampled(SimulatedCluster):
    """Notes who is sampled and when."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.samples: list[tuple[float, str]] = []

    async def sample_dirty_rate(self, host: str, uuid: str) -> float:
        self.samples.append((self._clock(), uuid))
        return await super().sample_dirty_rate(host, uuid)


@pytest.fixture
def sampled(house: House) -> Sampled:
    old = house.cluster
    house.cluster = Sampled(house.clock.monotonic, house.clock.sleep)
    for name in ("node1", "node2", "node3"):
        house.cluster.add_host(name, old.host(name).facts)
    return house.cluster


def dirty(daemon: Daemon, name: str) -> float | None:
    return daemon.service.snapshot().vm(name).dirty_mib_per_s


async def test_each_running_vm_is_sampled_once_it_has_booted_and_then_every_ten_minutes(house: House, sampled: Sampled):
    uuids = [house.vm("web1"), house.vm("web2")]
    sampled.guest(uuids[0]).dirty_mib_per_s = 30.0
    house.vm("stopped", running=False)
    daemon = await house.go()
    await house.clock.advance(59)
    assert sampled.samples == []
    assert dirty(daemon, "web1") is None
    await house.clock.advance(60)
    assert (dirty(daemon, "web1"), dirty(daemon, "web2"), dirty(daemon, "stopped")) == (30.0, 0.0, None)
    assert sorted(uuid for _, uuid in sampled.samples) == sorted(uuids)
    await house.clock.advance(1200)
    for uuid in uuids:
        times = [at_s for at_s, sampled_uuid in sampled.samples if sampled_uuid == uuid]
        assert len(times) == 3
        assert min(later - earlier for earlier, later in pairwise(times)) >= 600


async def test_one_vm_of_a_host_at_a_time(house: House, sampled: Sampled):
    for number in range(6):
        house.vm(f"web{number}")
    await house.go()
    await house.clock.advance(150)
    times = [at_s for at_s, _ in sampled.samples]
    assert len(times) == 6
    assert min(later - earlier for earlier, later in pairwise(times)) >= 1


async def test_a_vm_that_migrates_is_left_alone(house: House, sampled: Sampled):
    sampled.link_mib_per_s = 2.0
    uuid = house.vm("web1", memory_mib=1024)
    await house.go()
    moving = asyncio.create_task(sampled.migrate(uuid, "node1", "node2", MigrationOptions(persistent=True)))
    await house.clock.advance(300)
    assert not moving.done()
    assert sampled.samples == []
    await house.clock.advance(300)
    await moving
    await house.clock.advance(700)
    assert sampled.samples


async def test_a_host_that_cannot_sample_is_not_asked_again_until_it_comes_back(house: House, sampled: Sampled):
    house.vm("web1")
    house.vm("web2")
    sampled.host("node1").sampling_error = "this function is not supported"
    daemon = await house.go()
    await house.clock.advance(1000)
    assert len(sampled.samples) == 1
    assert dirty(daemon, "web1") is None
    sampled.cut("node1")
    await house.clock.advance(1)
    sampled.host("node1").sampling_error = ""
    sampled.restore("node1")
    await house.clock.advance(700)
    assert (dirty(daemon, "web1"), dirty(daemon, "web2")) == (0.0, 0.0)
