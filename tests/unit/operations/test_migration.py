"""Migrations from request to verified end, on a cluster in memory."""

import asyncio
from dataclasses import replace

import pytest

from scheduler.cluster.model import VmState
from scheduler.cluster.observation import EventKind
from scheduler.cluster.ports import MigrationOptions, RefusedError
from scheduler.operations.records import MigrationState, Trigger
from scheduler.operations.settings import MigrationClass, MigrationSettings

MIB = 1024 * 1024
COMPLETED, FAILED, ABORTED, UNKNOWN = (
    MigrationState.COMPLETED,
    MigrationState.FAILED,
    MigrationState.ABORTED,
    MigrationState.UNKNOWN,
)


async def test_a_migration_goes_through_its_states_and_ends_on_its_destination(world):
    uuid = world.vm("web")
    await world.look()
    done = await world.migrate(uuid, "node2")
    assert (done.state, done.error) == (COMPLETED, "")
    assert world.cluster.running_on(uuid) == ["node2"]
    assert world.cluster.defined_on(uuid) == ["node2"]
    states = list(dict.fromkeys(record.state.value for record in world.told))
    assert states == ["queued", "checking", "migrating", "verifying", "completed"]


async def test_figures_come_from_the_final_statistics(world):
    uuid = world.vm("web", memory_mib=1000)
    await world.look()
    world.cluster.guest(uuid).dirty_mib_per_s = 10.0
    done = await world.migrate(uuid, "node2")
    # 1,000 MiB at 100 MiB/s take 10 s, what the guest wrote meanwhile (100 MiB) 1 s, then 10 MiB 100 ms of downtime.
    assert done.duration_seconds == pytest.approx(11.3, abs=0.01)
    assert done.downtime_ms == 100
    assert done.transferred_bytes == 1110 * 1024 * 1024


async def test_progress_grows_and_ends_at_one(world):
    uuid = world.vm("web", memory_mib=1000)
    await world.look()
    await world.migrate(uuid, "node2")
    ratios = [record.progress_ratio for record in world.told if record.progress_ratio is not None]
    assert ratios == sorted(ratios)
    assert len(ratios) > 10
    assert ratios[-1] == 1.0


async def test_progress_tells_bytes_iteration_dirty_rate_and_the_expected_end_while_it_runs(world):
    uuid = world.vm("web", memory_mib=1000)
    await world.look()
    world.cluster.guest(uuid).dirty_mib_per_s = 10.0
    asked = await world.ask(uuid, "node2")
    await world.clock.advance(5.0)
    progress = world.migrations.get(asked.id).progress
    assert progress.transferred_bytes == pytest.approx(500 * MIB, rel=0.2)
    assert progress.remaining_bytes + progress.transferred_bytes >= 1000 * MIB
    assert progress.iteration == 1
    assert progress.dirty_bytes_per_second == 10 * MIB
    done = await world.clock.run(world.migrations.wait(asked.id))
    assert progress.expected_end_at == pytest.approx(done.ended_at, abs=1.0)
    assert world.told[-1].progress is None


async def test_each_step_is_journalled_before_it_is_taken(world):
    uuid = world.vm("web")
    await world.look()
    asked = await world.ask(uuid, "node2")
    await world.clock.advance(1.0)
    assert world.cluster.host("node2").domains[uuid].incoming
    assert (await world.journal.migration(asked.id)).state is MigrationState.MIGRATING
    await world.clock.run(world.migrations.wait(asked.id))


async def test_an_end_that_cannot_be_journalled_is_journalled_when_it_can(world):
    uuid = world.vm("web")
    await world.look()
    asked = await world.ask(uuid, "node2")
    await world.clock.advance(1.0)
    await world.journal._connection.execute("PRAGMA query_only = ON")
    await world.clock.advance(60.0)
    assert world.cluster.running_on(uuid) == ["node2"]
    assert (await world.journal.migration(asked.id)).state is MigrationState.MIGRATING
    await world.journal._connection.execute("PRAGMA query_only = OFF")
    done = await world.clock.run(world.migrations.wait(asked.id))
    assert done.state is COMPLETED
    assert world.clock.monotonic() < 70


async def test_autostart_and_only_then_is_carried_over(world):
    starts, other = world.vm("starts"), world.vm("other")
    world.cluster.host("node1").domains[starts].autostart = True
    await world.look()
    for uuid in (starts, other):
        await world.migrate(uuid, "node2")
    domains = world.cluster.host("node2").domains
    assert (domains[starts].autostart, domains[other].autostart) == (True, False)


async def test_a_transient_vm_stays_transient(world):
    uuid = world.vm("web")
    world.cluster.host("node1").domains[uuid].xml = None
    await world.look()
    assert (await world.migrate(uuid, "node2")).state is COMPLETED
    assert world.cluster.defined_on(uuid) == []


async def test_what_would_not_fit_is_refused_on_fresh_data_before_the_attempt(world):
    uuid = world.vm("web", memory_mib=4096)
    await world.look()
    world.vm("big", "node2", memory_mib=15_000)
    done = await world.migrate(uuid, "node2")
    assert done.state is FAILED
    assert "short" in done.error
    assert done.started_at is None
    assert not any(event.kind is EventKind.MIGRATION_ITERATION for event in world.cluster.history)


async def test_a_definition_with_its_uuid_on_the_destination_refuses_it(world):
    uuid = world.vm("web")
    world.cluster._define(world.cluster.host("node2"), uuid, "web", "<domain/>")
    await world.look()
    done = await world.migrate(uuid, "node2")
    assert done.state is FAILED
    assert "definition" in done.error


async def test_another_vm_of_its_name_on_the_destination_refuses_it(world):
    uuid = world.vm("web")
    world.cluster.add_vm(
        "node2", "web", world.cluster.host("node1").domains[uuid].facts, uuid="f" * 8 + "-0000-4000-8000-" + "f" * 12
    )
    await world.look()
    done = await world.migrate(uuid, "node2")
    assert (done.state, done.error) == (FAILED, "has another VM of the same name")


async def test_a_vm_that_stopped_while_it_was_queued_is_left_alone(world):
    uuid = world.vm("web")
    await world.look()
    world.cluster.end_guest("node1", uuid)
    done = await world.migrate(uuid, "node2")
    assert (done.state, done.error) == (FAILED, "it does not run on node1 any more")


async def test_a_failure_leaves_it_on_the_source_and_says_why(world):
    uuid = world.vm("web")
    world.cluster.host("node2").receive_error = "internal error: qemu died"
    await world.look()
    done = await world.migrate(uuid, "node2")
    assert (done.state, done.error) == (FAILED, "internal error: qemu died")
    assert world.cluster.running_on(uuid) == ["node1"]
    assert not world.gate.busy(uuid)


async def test_hosts_that_do_not_reach_each_other_are_found_out_before_it_begins(world):
    uuid = world.vm("web")
    world.cluster.host("node2").peer_error = "authentication failed"
    await world.look()
    done = await world.migrate(uuid, "node2")
    assert (done.state, done.started_at) == (FAILED, None)
    assert done.error.startswith("node1 cannot reach the libvirt of node2: ")
    assert not any(event.kind is EventKind.MIGRATION_ITERATION for event in world.cluster.history)


async def test_a_break_in_the_middle_leaves_it_on_the_source(world):
    uuid = world.vm("web")
    world.cluster.host("node2").receive_breaks_at = 0.5
    await world.look()
    done = await world.migrate(uuid, "node2")
    assert (done.state, done.error) == (FAILED, "migration stream broke off")
    assert world.cluster.running_on(uuid) == ["node1"]


async def test_abort_leaves_it_on_the_source(world):
    uuid = world.vm("web", memory_mib=8192)
    await world.look()
    asked = await world.ask(uuid, "node2")
    await world.clock.advance(5.0)
    await world.clock.run(world.migrations.abort(asked.id, "aborted by ann"))
    done = await world.clock.run(world.migrations.wait(asked.id))
    assert (done.state, done.error) == (ABORTED, "aborted by ann")
    assert world.cluster.running_on(uuid) == ["node1"]
    assert world.clock.monotonic() < 20


async def test_abort_of_a_queued_one_ends_it_at_once(world):
    first, second = world.vm("first"), world.vm("second")
    await world.look()
    await world.ask(first, "node2")
    queued = await world.ask(second, "node2")
    await world.clock.run(world.migrations.abort(queued.id, "changed my mind"))
    done = await world.clock.run(world.migrations.wait(queued.id))
    assert (done.state, done.started_at) == (ABORTED, None)


async def test_abort_of_one_that_has_ended_is_a_key_error(world):
    uuid = world.vm("web")
    await world.look()
    done = await world.migrate(uuid, "node2")
    with pytest.raises(KeyError):
        await world.migrations.abort(done.id, "late")


async def test_one_that_takes_too_long_is_aborted(world):
    uuid = world.vm("web", memory_mib=8192)
    await world.look()
    world.cluster.guest(uuid).dirty_mib_per_s = 200.0
    world.migrations.settings = MigrationSettings(timeout_seconds=30.0)
    done = await world.migrate(uuid, "node2")
    assert done.state is ABORTED
    assert done.error == "took longer than 30 s"
    assert done.duration_seconds == pytest.approx(30, abs=1)
    assert world.cluster.running_on(uuid) == ["node1"]


async def endless(world, **settings: object) -> int:
    """A migration of a guest that writes memory faster than it is carried over; its id."""
    uuid = world.vm("web", memory_mib=1024)
    await world.look()
    world.cluster.guest(uuid).dirty_mib_per_s = 101.0
    world.migrations.settings = MigrationSettings(**settings)  # type: ignore[arg-type]
    return (await world.ask(uuid, "node2")).id


async def test_one_that_makes_no_progress_is_aborted_before_its_time_is_up(world):
    number = await endless(world)
    done = await world.clock.run(world.migrations.wait(number))
    assert (done.state, done.error[:22]) == (ABORTED, "it made no progress: t")
    assert world.clock.monotonic() < 600
    assert world.cluster.running_on(done.uuid) == ["node1"]


async def test_one_that_makes_no_progress_may_stand_still_for_longer_where_that_is_allowed(world):
    number = await endless(world, downtime_limit_ms=20_000)
    done = await world.clock.run(world.migrations.wait(number))
    assert done.state is COMPLETED
    assert 9_600 < done.downtime_ms <= 20_000


async def test_post_copy_ends_one_that_makes_no_progress_and_cannot_be_aborted(world):
    number = await endless(world, post_copy=True)
    while not (transfer := world.cluster._transfers[world.migrations.get(number).uuid]).post_copy:
        await world.clock.advance(1.0)
    with pytest.raises(RefusedError, match="in post-copy: it runs on node2 already"):
        await world.clock.run(world.migrations.abort(number, "changed my mind"))
    assert transfer.cancelled_because == ""
    assert (await world.clock.run(world.migrations.wait(number))).state is COMPLETED


async def test_a_vm_of_a_class_is_migrated_as_its_class_says(world):
    patient = MigrationSettings(timeout_seconds=30.0)
    world.migrations.settings = MigrationSettings(
        timeout_seconds=20.0,
        classes=(MigrationClass(("other",), MigrationSettings()), MigrationClass(("w*",), patient)),
    )
    uuid = world.vm("web", memory_mib=8192)
    await world.look()
    done = await world.migrate(uuid, "node2")
    assert (done.state, done.error) == (ABORTED, "took longer than 30 s")


async def test_slots_are_given_in_the_order_of_asking_and_others_may_pass(world):
    vms = [world.vm(f"vm{number}") for number in range(4)]
    await world.look()
    for uuid, host in zip(vms, ("node2", "node2", "node3", "node3"), strict=True):
        await world.ask(uuid, host)
    await world.clock.advance(0.1)
    under_way = [record.uuid for record in world.migrations.running() if record.state is not MigrationState.QUEUED]
    assert under_way == [vms[0], vms[2]]
    await world.clock.advance(100.0)
    assert world.migrations.running() == ()
    ends = [(await world.journal.migration(number)).ended_at for number in (1, 2, 3, 4)]
    assert ends[0] <= ends[1]
    assert ends[2] <= ends[3]


async def test_never_more_at_once_than_the_slots(world):
    vms = [world.vm(f"vm{number}") for number in range(6)]
    await world.look()
    for number, uuid in enumerate(vms):
        await world.ask(uuid, f"node{2 + number % 2}")
    most = 0
    while world.migrations.running():
        await world.clock.advance(0.5)
        inbound = [sum(d.incoming for d in world.cluster.host(f"node{n}").domains.values()) for n in (2, 3)]
        assert max(inbound) <= 1
        most = max(most, sum(inbound))
    assert most == 2


async def test_a_vm_is_migrated_once_at_a_time(world):
    uuid = world.vm("web")
    await world.look()
    await world.ask(uuid, "node2")
    refused = await world.ask(uuid, "node3")
    assert (refused.state, refused.error) == (FAILED, "is on its way to node2")


async def test_the_source_lost_in_the_middle_is_waited_for(world):
    uuid = world.vm("web", memory_mib=2048)
    await world.look()
    asked = await world.ask(uuid, "node2")
    await world.clock.advance(5.0)
    world.cluster.cut("node1")
    await world.clock.advance(60.0)
    assert world.migrations.get(asked.id).state is MigrationState.VERIFYING
    world.cluster.restore("node1")
    done = await world.clock.run(world.migrations.wait(asked.id))
    assert (done.state, done.error) == (COMPLETED, "")


async def test_a_host_lost_for_good_makes_it_unknown(world):
    uuid = world.vm("web")
    await world.look()
    asked = await world.ask(uuid, "node2")
    await world.clock.advance(5.0)
    world.cluster.cut("node2")
    done = await world.clock.run(world.migrations.wait(asked.id))
    assert done.state is UNKNOWN
    assert "node2: connection refused" in done.error
    assert world.clock.monotonic() > 300


async def test_the_guest_shut_down_in_the_middle(world):
    uuid = world.vm("web", memory_mib=2048)
    await world.look()
    asked = await world.ask(uuid, "node2")
    await world.clock.advance(5.0)
    world.cluster.end_guest("node1", uuid)
    done = await world.clock.run(world.migrations.wait(asked.id))
    assert done.state is FAILED
    assert "it runs on neither node1 nor node2" in done.error
    assert world.cluster.defined_on(uuid) == ["node1"]


async def test_a_restarted_daemon_follows_what_it_had_begun(world):
    uuid = world.vm("web", memory_mib=4096)
    world.cluster.host("node1").domains[uuid].autostart = True
    await world.look()
    asked = await world.ask(uuid, "node2")
    await world.clock.advance(5.0)
    await world.migrations.stop()
    assert (await world.journal.migration(asked.id)).state is MigrationState.MIGRATING
    again = world.restarted()
    await again.look()
    await again.clock.run(again.migrations.adopt())
    assert again.gate.slots("node2") == (1, 0)
    await again.clock.advance(1.0)
    assert again.migrations.get(asked.id).state is MigrationState.MIGRATING
    assert again.migrations.get(asked.id).progress_ratio > 0.1
    done = await again.clock.run(again.migrations.wait(asked.id))
    assert (done.state, done.error) == (COMPLETED, "")
    assert done.duration_seconds == pytest.approx(42, abs=2)
    assert world.cluster.host("node2").domains[uuid].autostart


async def test_a_wall_clock_that_jumps_between_two_daemons_ends_no_migration(world):
    uuid = world.vm("web", memory_mib=4096)
    await world.look()
    asked = await world.ask(uuid, "node2")
    await world.clock.advance(5.0)
    await world.migrations.stop()
    record = await world.journal.migration(asked.id)
    await world.journal.update_migration(replace(record, started_at=record.started_at - 4000.0))
    again = world.restarted()
    await again.look()
    await again.clock.run(again.migrations.adopt())
    done = await again.clock.run(again.migrations.wait(asked.id))
    assert (done.state, done.error) == (COMPLETED, "")
    assert done.duration_seconds == pytest.approx(42, abs=2)


async def test_a_restarted_daemon_finds_what_ended_meanwhile(world):
    uuid = world.vm("web")
    await world.look()
    asked = await world.ask(uuid, "node2")
    await world.clock.advance(5.0)
    await world.migrations.stop()
    await world.clock.advance(60.0)
    again = world.restarted()
    await again.look()
    await again.clock.run(again.migrations.adopt())
    assert (await again.clock.run(again.migrations.wait(asked.id))).state is COMPLETED


async def test_a_restarted_daemon_begins_what_a_person_asked_for_and_drops_what_a_plan_wanted(world):
    vms = [world.vm(f"vm{number}") for number in range(3)]
    await world.look()
    for uuid, trigger in zip(vms, (Trigger.MANUAL, Trigger.MANUAL, Trigger.DRAIN), strict=True):
        await world.ask(uuid, "node2", trigger=trigger)
    await world.clock.advance(1.0)
    await world.migrations.stop()
    again = world.restarted()
    await again.look()
    await again.clock.run(again.migrations.adopt())
    await again.clock.advance(120.0)
    states = [(await again.journal.migration(number)).state for number in (1, 2, 3)]
    assert states == [COMPLETED, COMPLETED, ABORTED]


async def test_somebody_elses_migration_is_followed(world):
    uuid = world.vm("web", memory_mib=4096)
    await world.look()
    foreign = asyncio.ensure_future(world.cluster.migrate(uuid, "node1", "node2", MigrationOptions(persistent=True)))
    await world.clock.advance(1.0)
    (record,) = world.migrations.running()
    assert (record.trigger, record.destination) == (Trigger.ADOPTED, "node2")
    done = await world.clock.run(world.migrations.wait(record.id))
    assert done.state is COMPLETED
    await foreign
    vm = (await world.look()).vm(uuid)
    assert "a person moved it to node2" in vm.hold


async def test_a_paused_vm_arrives_paused(world):
    uuid = world.vm("web")
    world.cluster.host("node1").domains[uuid].state = VmState.PAUSED
    await world.look()
    done = await world.migrate(uuid, "node2")
    assert (done.state, done.error) == (COMPLETED, "it is paused on node2")


async def test_a_failed_automatic_move_backs_off(world):
    uuid = world.vm("web")
    world.cluster.host("node2").receive_error = "no"
    await world.look()
    await world.migrate(uuid, "node2", trigger=Trigger.RULE)
    again = await world.ask(uuid, "node2", trigger=Trigger.RULE)
    assert again.state is FAILED
    assert "tried again in" in again.error
    await world.clock.advance(301.0)
    assert (await world.ask(uuid, "node2", trigger=Trigger.RULE)).state is MigrationState.QUEUED
