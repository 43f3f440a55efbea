"""Starting VMs: where, what happens when it fails, and that a definition is never lost."""

import asyncio
import re
from itertools import accumulate

import pytest

from scheduler.cluster.observation import EventKind
from scheduler.cluster.ports import DefinitionError
from scheduler.cluster.rules import Pin, Rules
from scheduler.operations.journal import DefinitionMove
from scheduler.operations.records import PlacementOutcome, Trigger
from scheduler.operations.rehearsal import Rehearsal

STARTED, DRY_RUN, REFUSED, FAILED = (
    PlacementOutcome.STARTED,
    PlacementOutcome.DRY_RUN,
    PlacementOutcome.REFUSED,
    PlacementOutcome.FAILED,
)


def xml(name="new", *, memory_mib=1024, uuid=None):
    identity = f"<uuid>{uuid}</uuid>" if uuid else ""
    return (
        f"<domain type='kvm'><name>{name}</name>{identity}"
        f"<memory unit='MiB'>{memory_mib}</memory><vcpu>2</vcpu></domain>"
    )


async def place(world, definition, **kwargs):
    return await world.clock.run(world.placements.place(definition, **kwargs))


async def start(world, vm, **kwargs):
    return await world.clock.run(world.placements.start(vm, **kwargs))


async def test_a_new_vm_is_started_on_the_best_host_which_is_told(world):
    world.vm("big", "node1", memory_mib=2048)
    world.vm("small", "node2", memory_mib=1024)
    await world.look()
    record = await place(world, xml(), requested_by="ann", cycle="c1")
    assert (record.outcome, record.host) == (STARTED, "node3")
    assert world.cluster.running_on(record.uuid) == world.cluster.defined_on(record.uuid) == ["node3"]
    assert [ranked["host"] for ranked in record.ranking] == ["node3", "node2", "node1"]
    assert re.fullmatch(
        r"best of 3 hosts: CPU \d+% and memory \d+% used with it; node2 CPU \d+% and memory \d+% used with it",
        record.reason,
    )
    assert (record.id, record.requested_by, record.cycle, record.trigger) == (1, "ann", "c1", Trigger.MANUAL)
    assert await world.journal.placements(limit=1) == [record] == world.told


async def test_a_new_vm_keeps_the_uuid_that_its_definition_names(world):
    uuid = "11111111-2222-4333-8444-555555555555"
    record = await place(world, xml(uuid=uuid))
    assert record.uuid == uuid
    assert world.cluster.running_on(uuid) == [record.host]


async def test_a_definition_that_cannot_be_read_is_refused(world):
    with pytest.raises(DefinitionError):
        await place(world, "<domain/>")


async def test_a_dry_run_does_nothing(world):
    record = await place(world, xml(), rehearsal=Rehearsal())
    assert (record.outcome, record.id) == (DRY_RUN, 0)
    assert record.host is not None
    assert world.cluster.running_on(record.uuid) == world.cluster.defined_on(record.uuid) == []
    assert await world.journal.placements(limit=9) == []
    assert not world.gate.busy(record.uuid)


async def test_where_it_fits_nowhere_each_host_says_why(world):
    record = await place(world, xml(memory_mib=20_000))
    assert (record.outcome, record.host, record.attempts) == (REFUSED, None, ())
    assert [refusal["host"] for refusal in record.refused] == ["node1", "node2", "node3"]
    assert record.reason.startswith("no host can take it: node1, node2, node3: needs 20,000 MiB, ")


async def test_the_host_that_was_asked_for_is_taken(world):
    world.vm("big", "node1", memory_mib=8192)
    await world.look()
    record = await place(world, xml(), host="node1")
    assert (record.outcome, record.host, record.reason) == (STARTED, "node1", "asked for")


async def test_the_host_that_was_asked_for_is_checked(world):
    world.view.rules = Rules(pins=(Pin("new", ("node2",)),))
    refused = await place(world, xml(), host="node1")
    assert refused.outcome is REFUSED
    assert refused.reason.startswith("node1 cannot take it: ")
    unknown = await place(world, xml(), host="node9")
    assert unknown.reason == "node9 cannot take it: there is no such host"
    assert (await place(world, xml())).host == "node2"


async def test_a_failed_start_tries_the_next_and_leaves_nothing_behind(world):
    world.cluster.host("node1").start_error = "no bridge br0"
    world.vm("on2", "node2")
    world.vm("on3", "node3", memory_mib=2048)
    await world.look()
    record = await place(world, xml())
    assert (record.outcome, record.host) == (STARTED, "node2")
    assert [(attempt.host, attempt.error) for attempt in record.attempts] == [("node1", "no bridge br0"), ("node2", "")]
    assert "node1 failed to start it: no bridge br0" in record.reason
    assert world.cluster.defined_on(record.uuid) == ["node2"]


@pytest.mark.parametrize("defined_before", [False, True])
async def test_what_a_failed_start_shows_for_a_moment_keeps_it_from_no_host(world, defined_before):
    for number in (1, 2, 3):
        world.cluster.host(f"node{number}").start_error = "no"
        world.cluster.host(f"node{number}").start_seconds = 1.0
    if defined_before:
        world.vm("new", running=False)
        await world.look()
    starting = world.placements.start("new") if defined_before else world.placements.place(xml())
    ending = asyncio.ensure_future(starting)
    while not ending.done():
        await world.clock.advance(0.5)
        if not ending.done():
            await world.look()
    record = await ending
    assert (record.outcome, len(record.attempts)) == (FAILED, 3)


async def test_where_every_start_fails_nothing_is_left(world):
    for number in (1, 2, 3):
        world.cluster.host(f"node{number}").start_error = "no"
    record = await place(world, xml())
    assert (record.outcome, record.host, len(record.attempts)) == (FAILED, None, 3)
    assert world.cluster.defined_on(record.uuid) == []
    assert not world.gate.busy(record.uuid)


async def test_a_start_whose_end_is_unknown_is_tried_nowhere_else(world):
    world.vm("on2", "node2")
    world.vm("on3", "node3")
    await world.look()
    world.cluster.host("node1").start_seconds = 1.0
    placing = asyncio.ensure_future(world.placements.place(xml()))
    await world.clock.advance(0.5)
    world.cluster.host("node1").frozen = True
    record = await world.clock.run(placing)
    assert (record.outcome, [attempt.host for attempt in record.attempts]) == (FAILED, ["node1"])
    assert "it may run there all the same" in record.reason
    assert world.gate.busy(record.uuid)


async def test_a_host_that_hangs_unnoticed_holds_nobody_up(world):
    world.vm("on2", "node2")
    world.vm("on3", "node3", memory_mib=2048)
    await world.look()
    world.cluster.host("node1").frozen = True
    record = await world.clock.run(world.placements.place(xml()), limit_seconds=5)
    assert (record.outcome, record.host, len(record.attempts)) == (STARTED, "node2", 1)
    assert record.refused == (
        {"host": "node1", "reasons": [{"code": "host_state", "text": "its libvirt does not answer"}]},
    )
    asked_for = await world.clock.run(world.placements.place(xml("other"), host="node1"), limit_seconds=5)
    assert (asked_for.outcome, asked_for.attempts) == (REFUSED, ())
    assert asked_for.reason == "node1 cannot take it: its libvirt does not answer"
    assert not world.gate.busy(asked_for.uuid)


async def test_a_vm_whose_definition_lies_where_nobody_answers_is_not_started(world):
    uuid = world.vm("web", running=False)
    await world.look()
    world.cluster.host("node1").frozen = True
    record = await world.clock.run(world.placements.start(uuid), limit_seconds=5)
    assert (record.outcome, record.attempts) == (REFUSED, ())
    assert "the libvirt of node1, where it is defined, does not answer" in record.reason


async def test_a_name_or_uuid_that_is_taken_is_refused(world):
    uuid = world.vm("web", "node2")
    await world.look()
    by_name = await place(world, xml("web"))
    assert by_name.outcome is REFUSED
    assert by_name.reason == "no host can take it: node1, node2, node3: a VM of that name is on node2: web"
    by_uuid = await place(world, xml("other", uuid=uuid))
    assert "a VM of that UUID is on node2: web" in by_uuid.reason


async def test_placements_at_once_never_take_the_same_room(world):
    for host in ("node1", "node2"):
        world.vm(f"full-{host}", host, memory_mib=16_000)
    await world.look()
    placing = [world.placements.place(xml(f"new{number}", memory_mib=5_000)) for number in range(5)]
    records = await world.clock.run(asyncio.gather(*placing))
    assert sorted(record.outcome for record in records) == [REFUSED, REFUSED, STARTED, STARTED, STARTED]
    assert {record.host for record in records if record.host} == {"node3"}


async def test_a_stopped_vm_takes_its_definition_along(world):
    uuid = world.vm("web", running=False)
    world.cluster.host("node1").domains[uuid].autostart = True
    world.vm("big", "node1", memory_mib=12_000)
    await world.look()
    record = await start(world, "web")
    assert record.outcome is STARTED
    assert record.host in {"node2", "node3"}
    assert world.cluster.defined_on(uuid) == world.cluster.running_on(uuid) == [record.host]
    assert world.cluster.host(record.host).domains[uuid].autostart
    assert await world.journal.definition_moves() == []


async def test_a_stopped_vm_is_put_back_when_it_starts_nowhere(world):
    uuid = world.vm("web", running=False)
    for number in (1, 2, 3):
        world.cluster.host(f"node{number}").start_error = "no"
    await world.look()
    record = await start(world, uuid)
    assert (record.outcome, len(record.attempts)) == (FAILED, 3)
    assert world.cluster.defined_on(uuid) == ["node1"]


async def test_a_definition_that_cannot_leave_starts_where_it_is(world):
    uuid = world.vm("web", running=False)
    world.vm("big", "node1", memory_mib=12_000)
    world.cluster.host("node1").undefine_error = "domain has a managed save image"
    await world.look()
    record = await start(world, uuid)
    assert (record.outcome, record.host) == (STARTED, "node1")
    assert len(record.attempts) == 2
    assert world.cluster.defined_on(uuid) == ["node1"]


async def test_a_vm_that_cannot_move_starts_where_it_is(world):
    uuid = world.vm("web", running=False, blockers=("local disk /x",))
    world.vm("big", "node1", memory_mib=12_000)
    await world.look()
    assert (await start(world, uuid)).host == "node1"


async def test_a_vm_that_runs_is_not_started_again(world):
    uuid = world.vm("web")
    await world.look()
    record = await start(world, "web")
    assert record.outcome is REFUSED
    assert world.cluster.running_on(uuid) == ["node1"]


async def test_two_starts_of_one_vm_start_it_once(world):
    uuid = world.vm("web", running=False)
    await world.look()
    both = asyncio.gather(world.placements.start(uuid), world.placements.start(uuid))
    records = await world.clock.run(both)
    assert sorted(record.outcome for record in records) == [REFUSED, STARTED]
    assert len(world.cluster.running_on(uuid)) == 1


async def test_an_unknown_vm_is_a_key_error(world):
    with pytest.raises(KeyError):
        await start(world, "nobody")


@pytest.mark.parametrize("running_on", [None, "node1", "node2"])
async def test_a_crash_in_the_middle_of_a_definition_move_leaves_one_definition(world, running_on):
    uuid = world.vm("web", running=False)
    definition = await world.cluster.domain_xml("node1", uuid)
    await world.journal.begin_definition_move(DefinitionMove(uuid, "node1", "node2"))
    await world.cluster.define("node2", definition)
    if running_on:
        await world.cluster.start(running_on, uuid)
    await world.clock.run(world.placements.recover())
    assert world.cluster.defined_on(uuid) == [running_on or "node1"]
    assert await world.journal.definition_moves() == []


async def test_a_crash_is_put_right_once_both_hosts_answer(world):
    uuid = world.vm("web", running=False)
    definition = await world.cluster.domain_xml("node1", uuid)
    await world.journal.begin_definition_move(DefinitionMove(uuid, "node1", "node2"))
    await world.cluster.define("node2", definition)
    world.cluster.cut("node1")
    await world.clock.run(world.placements.recover())
    assert world.cluster.defined_on(uuid) == ["node1", "node2"]
    world.cluster.restore("node1")
    await world.clock.run(world.placements.recover())
    assert world.cluster.defined_on(uuid) == ["node1"]


async def test_there_is_a_definition_at_every_moment(world):
    uuid = world.vm("web", running=False)
    world.vm("big", "node1", memory_mib=12_000)
    world.cluster.host("node2").start_error = world.cluster.host("node3").start_error = "no"
    await world.look()
    assert (await start(world, uuid)).host == "node1"
    changes = {EventKind.DEFINED: 1, EventKind.UNDEFINED: -1}
    told = [event for event in world.cluster.history if event.uuid == uuid and event.kind in changes]
    definitions = list(accumulate(changes[event.kind] for event in told))
    assert definitions == [1, 2, 1, 2, 1, 2, 1]


async def test_a_definition_that_is_being_moved_is_no_wreck(world):
    uuid = world.vm("web", running=False)
    world.vm("big", "node1", memory_mib=12_000)
    await world.look()
    starting = asyncio.ensure_future(world.placements.start(uuid))
    while not starting.done():
        await world.placements.recover()
        await asyncio.sleep(0)
    assert (await starting).outcome is STARTED
    assert world.cluster.defined_on(uuid) == world.cluster.running_on(uuid) != ["node1"]
