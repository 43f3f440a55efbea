"""A placement is journalled before each step; one that a crash interrupts is settled by what its host shows."""

import asyncio
from dataclasses import replace

import pytest

from scheduler.operations.journal import JournalError
from scheduler.operations.placement_entry import SETTLE_SECONDS
from scheduler.operations.records import Attempt, PlacementOutcome, PlacementRecord, Trigger

from .test_placement import xml

DEFINING, STARTING, STARTED, FAILED, REFUSED = (
    PlacementOutcome.DEFINING,
    PlacementOutcome.STARTING,
    PlacementOutcome.STARTED,
    PlacementOutcome.FAILED,
    PlacementOutcome.REFUSED,
)


async def latest(world):
    [record] = await world.journal.placements(limit=9)
    return record


async def crash_while_starting(world):
    """A new VM whose start on node1 was asked for; nobody is left who heard of its end."""
    for host in ("node2", "node3"):
        world.vm(f"on-{host}", host)
    await world.look()
    world.cluster.host("node1").start_seconds = 5.0
    placing = asyncio.ensure_future(world.placements.place(xml(), requested_by="ann"))
    await world.clock.advance(1)
    record = await latest(world)
    assert (record.outcome, record.host, record.requested_by) == (STARTING, "node1", "ann")
    placing.cancel()
    await asyncio.gather(placing, return_exceptions=True)
    next_world = world.restarted()
    await next_world.look()
    return next_world, record


@pytest.mark.parametrize(
    ("step", "state", "outcome", "text"),
    [
        (DEFINING, "absent", FAILED, "it is not there"),
        (DEFINING, "defined", FAILED, "it was only defined: the definition is removed again"),
        (DEFINING, "running", STARTED, ""),
        (STARTING, "absent", FAILED, "it is not there"),
        (STARTING, "defined", FAILED, "it is defined there and does not run"),
        (STARTING, "running", STARTED, ""),
    ],
)
async def test_what_a_crash_has_interrupted_is_told_by_the_next_daemon(world, step, state, outcome, text):
    uuid = "11111111-2222-4333-8444-555555555555"
    if state != "absent":
        world.vm("new", "node2", running=state == "running")
        uuid = (await world.look()).vm("new").uuid
    begun = PlacementRecord(
        id=0, vm="new", uuid=uuid, outcome=step, trigger=Trigger.MANUAL, at=1.0, host="node2", reason="best of 3 hosts",
        attempts=(Attempt(host="node1", error="no bridge"),),
    )  # fmt: skip
    await world.journal.add_placement(begun)
    await world.placements.recover()
    await world.clock.advance(SETTLE_SECONDS + 1)
    record = await latest(world)
    assert record.outcome is outcome
    assert record == world.told[0]
    assert record.at > begun.at
    if outcome is STARTED:
        assert (record.host, record.reason) == (
            "node2",
            "best of 3 hosts; the daemon ended while it was being started",
        )
        assert record.attempts == (*begun.attempts, Attempt(host="node2"))
    else:
        assert (record.host, record.reason) == (
            None,
            f"the daemon ended while it was being started on node2: {text}",
        )
    assert world.cluster.defined_on(uuid) == (["node2"] if (step, state) in LEFT else [])
    assert await world.journal.placements_under_way() == []
    assert not world.gate.busy(uuid)


LEFT = {(DEFINING, "running"), (STARTING, "defined"), (STARTING, "running")}


async def test_a_start_that_goes_on_after_a_crash_is_waited_for_and_not_begun_again(world):
    world, begun = await crash_while_starting(world)
    going_on = asyncio.ensure_future(world.cluster.start("node1", begun.uuid))
    await world.placements.recover()
    await world.clock.advance(3)
    again = await world.placements.start(begun.uuid)
    assert (again.outcome, again.host) == (REFUSED, None)
    assert "is being started already" in again.reason
    await world.clock.run(going_on)
    await world.clock.advance(1)
    settled = next(one for one in await world.journal.placements(limit=9) if one.id == begun.id)
    assert (settled.outcome, settled.host) == (STARTED, "node1")
    assert world.cluster.running_on(begun.uuid) == ["node1"]


async def test_it_waits_for_a_host_that_does_not_answer(world):
    world, begun = await crash_while_starting(world)
    world.cluster.cut("node1")
    await world.look()
    await world.placements.recover()
    await world.clock.advance(SETTLE_SECONDS + 1)
    assert (await latest(world)).outcome is STARTING
    world.cluster.restore("node1")
    world.cluster.host("node1").start_seconds = 0.0
    await world.look()
    await world.cluster.start("node1", begun.uuid)
    await world.placements.recover()
    await world.clock.advance(1)
    assert (await latest(world)).outcome is STARTED


async def test_a_host_that_was_taken_out_is_not_waited_for(world):
    world, begun = await crash_while_starting(world)
    await world.journal.update_placement(replace(begun, host="node9"))
    await world.placements.recover()
    await world.clock.advance(1)
    record = await latest(world)
    assert (record.outcome, record.host) == (FAILED, None)
    assert record.reason.endswith("on node9: which is no host any more")


async def test_what_is_not_settled_when_the_daemon_stops_is_settled_by_the_next(world):
    world, begun = await crash_while_starting(world)
    await world.placements.recover()
    await world.clock.advance(1)
    await world.placements.stop()
    assert await world.journal.placements_under_way() == [begun]
    assert not world.gate.busy(begun.uuid)


async def test_without_a_journal_nothing_is_defined(world):
    await world.journal.close()
    with pytest.raises(JournalError):
        await world.clock.run(world.placements.place(xml()))
    assert world.cluster.history == []
