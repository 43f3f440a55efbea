"""What hosts really had to do after a migration is held against what was expected."""

import pytest

from scheduler.daemon.hindsight import SETTLED_S

from .conftest import House

OBSERVE = 'mode = "observe"\n'

SUM = "virt_scheduler_host_load_prediction_error_ratio_sum"
COUNT = "virt_scheduler_host_load_prediction_error_ratio_count"


async def migrated(house: House, name: str, to: str) -> None:
    await house.run(house.daemon.service.migrate([name], to=to, dry_run=False, requested_by="ann"))
    await house.clock.advance(30)
    assert house.cluster.running_on(house.daemon.service.snapshot().vm(name).uuid) == [to]


def compared(house: House) -> tuple[float | None, float | None]:
    registry = house.daemon.metrics.registry
    return registry.get_sample_value(COUNT), registry.get_sample_value(SUM)


async def test_both_hosts_are_compared_when_they_have_settled(house: House):
    uuid = house.vm("web1", cores=2.0)
    house.vm("web2", cores=1.0)
    await house.go(OBSERVE)
    await house.clock.advance(120)
    await migrated(house, "web1", "node2")
    assert compared(house) == (0, 0)
    await house.clock.advance(SETTLED_S)
    assert compared(house) == (2, pytest.approx(0, abs=0.02))

    # Nobody knows it yet when the VM is moved: the source is left as expected, the destination has 2 of 8 cores more.
    house.cluster.set_demand(uuid, 4.0)
    await migrated(house, "web1", "node3")
    await house.clock.advance(SETTLED_S)
    count, total = compared(house)
    assert count == 4
    assert total == pytest.approx(2 / 8, abs=0.05)


async def test_a_host_where_something_else_moved_meanwhile_tells_nothing(house: House):
    house.vm("web1", cores=2.0)
    house.vm("web2", "node3", cores=1.0)
    await house.go(OBSERVE)
    await house.clock.advance(120)
    await migrated(house, "web1", "node2")
    await migrated(house, "web2", "node2")
    await house.clock.advance(2 * SETTLED_S)
    assert compared(house)[0] == 3  # node1, node3, and node2 after the second one only
