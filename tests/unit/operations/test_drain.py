"""Hosts taken out of service."""

from scheduler.cluster.model import HostState
from scheduler.operations.records import MigrationState, Trigger


async def drain(world, host="node1"):
    planned = await world.clock.run(world.drains.drain(host, requested_by="ann"))
    await world.clock.run(world.drains.wait(host))
    return planned


async def test_a_drained_host_ends_empty_and_cordoned(world):
    vms = [world.vm(f"vm{number}") for number in range(5)]
    world.vm("other", "node2")
    await world.look()
    planned = await drain(world)
    assert len(planned.steps) == 5
    assert all(world.cluster.running_on(uuid)[0] in {"node2", "node3"} for uuid in vms)
    records = await world.journal.migrations(limit=99)
    assert {(record.trigger, record.state, record.requested_by) for record in records} == {
        (Trigger.DRAIN, MigrationState.COMPLETED, "ann")
    }
    assert not world.drains.flag("node1").draining
    assert (await world.look()).host("node1").state is HostState.MAINTENANCE
    assert world.drains.status("node1").vms_left == ()


async def test_drained_hosts_keep_both_other_hosts_busy(world):
    for number in range(4):
        world.vm(f"vm{number}")
    await world.look()
    await world.clock.run(world.drains.drain("node1"))
    await world.clock.advance(2.0)
    assert world.gate.slots("node1") == (0, 2)


async def test_what_cannot_leave_is_told_and_leaves_when_it_can(world):
    world.vm("free")
    stuck = world.vm("stuck", memory_mib=6000)
    world.vm("big", "node2", memory_mib=12_000)
    blocking = world.vm("blocking", "node3", memory_mib=12_000)
    await world.look()
    await world.clock.run(world.drains.drain("node1"))
    await world.clock.advance(60.0)
    status = world.drains.status("node1")
    assert status.vms_left == ("stuck",)
    assert [unmoved.vm for unmoved in status.unmoved] == ["stuck"]
    assert world.drains.flag("node1").draining
    world.cluster.end_guest("node3", blocking)
    await world.look()
    await world.clock.run(world.drains.wait("node1"))
    assert world.cluster.running_on(stuck) == ["node3"]


async def test_a_failing_vm_is_tried_again_after_its_back_off(world):
    uuid = world.vm("web")
    world.cluster.host("node2").receive_error = world.cluster.host("node3").receive_error = "no"
    await world.look()
    await world.clock.run(world.drains.drain("node1"))
    await world.clock.advance(100.0)
    assert "tried again in" in world.drains.status("node1").unmoved[0].reasons[0].text
    assert len(await world.journal.migrations(limit=99)) == 1
    world.cluster.host("node2").receive_error = world.cluster.host("node3").receive_error = ""
    await world.clock.run(world.drains.wait("node1"))
    assert world.cluster.running_on(uuid) != ["node1"]


async def test_uncordon_ends_a_drain(world):
    vms = [world.vm(f"vm{number}", memory_mib=2048) for number in range(6)]
    await world.look()
    await world.clock.run(world.drains.drain("node1"))
    await world.clock.advance(2.0)
    await world.clock.run(world.drains.uncordon("node1"))
    await world.clock.advance(300.0)
    where = sorted(world.cluster.running_on(uuid)[0] for uuid in vms)
    assert where.count("node1") >= 4
    assert world.drains.flag("node1") is None
    assert await world.journal.host_flags() == []
    assert world.migrations.running() == ()


async def test_a_cordoned_host_keeps_its_vms_and_takes_no_others(world):
    uuid = world.vm("web")
    await world.look()
    await world.clock.run(world.drains.cordon("node2", requested_by="ann"))
    refused = await world.migrate(uuid, "node2")
    assert refused.state is MigrationState.FAILED
    assert world.drains.flag("node2").requested_by == "ann"
    await world.clock.run(world.drains.uncordon("node2"))
    assert (await world.migrate(uuid, "node2")).state is MigrationState.COMPLETED


async def test_a_drain_goes_on_after_a_restart(world):
    vms = [world.vm(f"vm{number}") for number in range(4)]
    await world.look()
    await world.clock.run(world.drains.drain("node1"))
    await world.clock.advance(2.0)
    await world.drains.stop()
    await world.migrations.stop()
    again = world.restarted()
    await world.clock.run(again.drains.restore())
    await world.clock.advance(20.0)
    assert again.drains.flag("node1").draining, "a host that was not seen yet is not empty"
    await again.look()
    await world.clock.run(again.migrations.adopt())
    await world.clock.run(again.drains.wait("node1"))
    assert not any("node1" in world.cluster.running_on(uuid) for uuid in vms)
    assert await again.journal.unfinished() == []


async def test_the_expected_end_is_told_and_comes_nearer(world):
    for number in range(6):
        world.vm(f"vm{number}", memory_mib=2048)
    await world.look()
    await world.clock.run(world.drains.drain("node1"))
    await world.clock.advance(1.0)
    first = world.drains.ends_at("node1")
    planned = await world.drains.plan("node2")
    assert planned.steps == ()
    assert first > world.clock.wall()
    assert world.drains.status("node1").ends_at == first
    await world.clock.run(world.drains.wait("node1"))
    assert world.clock.wall() <= first + 15
    assert world.drains.ends_at("node1") is None


async def test_hosts_drained_together_do_not_wait_for_the_same_host(world):
    one, other = world.vm("one", "node1"), world.vm("other", "node2")
    await world.look()
    await world.clock.run(world.drains.drain("node1"))
    await world.clock.run(world.drains.drain("node2"))
    await world.clock.run(world.drains.wait("node1"))
    await world.clock.run(world.drains.wait("node2"))
    assert world.cluster.running_on(one) == world.cluster.running_on(other) == ["node3"]
