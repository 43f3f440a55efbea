"""The whole daemon on a simulated cluster: what it does by itself over minutes and hours."""

import asyncio
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from scheduler.cli.main import main
from scheduler.operations.records import MigrationState, PlacementOutcome
from scheduler.web.control import ControlError

from .conftest import AT_ONCE, AUTO, House, definition

PINNED = '[[pins]]\nvm = "db*"\nhosts = ["node3"]\n'


def hot_host(house: House, cores: float = 3.0) -> list[str]:
    """Four VMs on node1 that want 12 of its 8 cores."""
    return [house.vm(f"web{number}", "node1", cores=cores) for number in range(4)]


async def test_contention_is_relieved_after_the_hold_and_not_before(house: House):
    hot_host(house)
    await house.go()
    await house.clock.advance(115)
    assert await house.ways() == []
    await house.clock.advance(60)
    ways = await house.ways()
    assert ways
    assert {(source, trigger) for _, source, _, trigger in ways} == {("node1", "balance")}
    assert all(one.state is MigrationState.COMPLETED for one in await house.migrations())


async def test_just_after_a_host_was_lost_nothing_is_balanced(house: House):
    uuids = hot_host(house, cores=0.1)
    daemon = await house.go(AUTO)
    await house.clock.advance(300)
    house.cluster.cut("node3")
    for uuid in uuids:
        house.cluster.set_demand(uuid, 4.0)
    await house.clock.advance(290)
    assert await house.ways() == []
    assert daemon.cycle.last is not None
    assert "node3 cannot be seen, balancing waits 5 min for it" in daemon.cycle.last.sentence
    await house.clock.advance(120)
    assert {source for _, source, _, _ in await house.ways()} == {"node1"}


async def test_a_spike_shorter_than_the_hold_moves_nothing(house: House):
    uuids = hot_host(house, cores=1.0)
    await house.go()
    await house.clock.advance(100)
    for uuid in uuids:
        house.cluster.set_demand(uuid, 4.0)
    await house.clock.advance(90)
    for uuid in uuids:
        house.cluster.set_demand(uuid, 1.0)
    await house.clock.advance(400)
    assert await house.ways() == []


async def test_after_a_move_a_host_must_show_contention_anew(house: House):
    """A host so hot that one round does not help: the next comes no sooner than the hold after the first."""
    for number in range(8):
        house.vm(f"web{number}", "node1", cores=2.0)
    await house.go()
    await house.clock.advance(600)
    began = sorted(one.started_at or 0.0 for one in await house.migrations())
    gaps = [later - earlier for earlier, later in pairwise(began)]
    assert max(gaps) >= 120
    assert all(gap < 1 or gap >= 120 for gap in gaps)  # at once in one batch, or after a new hold


async def test_symmetric_load_moves_nothing(house: House):
    for host in ("node1", "node2", "node3"):
        for number in range(4):
            house.vm(f"{host}-web{number}", host, cores=3.0)
    await house.go()
    await house.clock.advance(400)
    assert await house.ways() == []


async def test_a_vm_started_by_hand_against_its_pin_is_moved_at_once(house: House):
    """Even in the warm-up: a broken rule is no matter of balance."""
    uuid = house.vm("db1", "node1", running=False)
    await house.go(AUTO + PINNED)
    await house.clock.advance(30)
    await house.cluster.start("node1", uuid)
    await house.clock.advance(20)
    assert await house.ways() == [("db1", "node1", "node3", "rule")]
    assert house.cluster.running_on(uuid) == ["node3"]


async def test_in_recommend_that_waits_for_a_person(house: House):
    uuid = house.vm("db1", "node1", running=False)
    daemon = await house.go('mode = "recommend"\n' + PINNED)
    await house.cluster.start("node1", uuid)
    await house.clock.advance(20)
    [waiting] = await daemon.service.recommendations()
    assert (waiting.vm, waiting.destination, waiting.trigger) == ("db1", "node3", "rule")
    assert daemon.service.status().recommendations_pending == 1
    await house.run(daemon.service.approve(waiting.id, requested_by="alice"))
    await house.clock.advance(30)
    assert house.cluster.running_on(uuid) == ["node3"]
    assert daemon.service.status().recommendations_pending == 0


async def test_what_a_person_moved_stays_there(house: House):
    """It is moved with virsh onto a host that gets hot; the others leave, it does not."""
    uuid = house.vm("mine", "node2", cores=3.0)
    hot_host(house, cores=2.5)
    daemon = await house.go()
    await house.clock.advance(20)
    moving = asyncio.create_task(house.cluster.migrate(uuid, "node2", "node1", _options()))
    await house.clock.advance(600)
    await moving
    assert "mine" not in {vm for vm, *_, trigger in await house.ways() if trigger == "balance"}
    assert {vm for vm, *_, trigger in await house.ways() if trigger == "balance"}
    assert daemon.service.snapshot().vm(uuid).hold is not None


async def test_a_moved_vm_is_left_alone_and_never_sent_straight_back(house: House):
    uuids = hot_host(house)
    await house.go()
    await house.clock.advance(300)
    moved = {one.uuid: one.destination for one in await house.migrations()}
    # What was hot is idle, what was moved is crowded: all evidence is for the way back.
    for uuid in uuids:
        house.cluster.set_demand(uuid, 4.0 if uuid in moved else 0.1)
    for host in set(moved.values()):
        for number in range(3):
            house.vm(f"{host}-crowd{number}", host, cores=4.0, blockers=("a PCI device",))
    before = len(await house.migrations())
    await house.clock.advance(600)
    again = (await house.migrations())[before:]
    assert not [one for one in again if one.uuid in moved]


async def test_a_drain_of_several_vms_keeps_the_queue_limits(house: House):
    for number in range(6):
        house.vm(f"web{number}", "node1")
    daemon = await house.go()
    await house.run(daemon.service.drain("node1", dry_run=False, requested_by="alice"))
    most = {"in": 0, "out": 0}
    for _ in range(120):
        await house.clock.advance(1)
        for host in daemon.service.hosts():
            most["in"], most["out"] = max(most["in"], host.inbound), max(most["out"], host.outbound)
    assert most == {"in": 1, "out": 2}
    assert [vm.name for vm in daemon.service.snapshot().vms if vm.host == "node1"] == []
    assert len(await house.ways()) == 6


async def test_two_placements_at_the_same_moment_never_take_the_same_room(house: House):
    for host in ("node2", "node3"):
        house.vm(f"full-{host}", host, memory_mib=14000)
    daemon = await house.go()
    ways = [
        daemon.service.place([definition(name, memory_mib=9000)], host=None, dry_run=False, requested_by=name)
        for name in ("one", "two")
    ]
    [first], [second] = await house.run(asyncio.gather(*ways))
    assert sorted([first.outcome, second.outcome]) == [PlacementOutcome.REFUSED, PlacementOutcome.STARTED]
    assert first.host == "node1" or second.host == "node1"


async def test_a_start_that_fails_on_one_host_tries_the_next(house: House):
    for host in ("node2", "node3"):
        house.vm(f"some-{host}", host)
    house.cluster.host("node1").start_error = "no space left on device"
    daemon = await house.go()
    [record] = await house.run(
        daemon.service.place([definition("web1")], host=None, dry_run=False, requested_by="alice")
    )
    assert record.outcome is PlacementOutcome.STARTED
    assert [bool(attempt.error) for attempt in record.attempts] == [True, False]
    assert house.cluster.running_on(record.uuid) == [record.host]
    assert house.cluster.defined_on(record.uuid) == [record.host]


async def test_the_next_daemon_adopts_what_the_killed_one_was_migrating(house: House):
    uuid = house.vm("web1", "node1", memory_mib=4096)
    daemon = await house.go()
    [asked] = await house.run(daemon.service.migrate(["web1"], to="node2", dry_run=False, requested_by="alice"))
    await house.clock.advance(5)
    assert (await daemon.service.migration(asked.id)).state is MigrationState.MIGRATING
    await house.kill()
    await house.clock.advance(3)
    again = await house.go()
    assert [one.id for one in await house.migrations()] == [asked.id]
    await house.clock.advance(90)
    ended = await again.service.migration(asked.id)
    assert ended.state is MigrationState.COMPLETED
    assert house.cluster.running_on(uuid) == ["node2"]
    assert len(await house.migrations()) == 1
    assert again.service.snapshot().vm(uuid).hold  # a person asked for it


async def test_a_drain_of_a_host_that_is_taken_out_ends_and_leaves_it_cordoned(house: House):
    house.vm("stuck", "node1", blockers=("a PCI device",))
    daemon = await house.go()
    await house.run(daemon.service.drain("node1", dry_run=False, requested_by="alice"))
    house.write(AUTO, ("node2", "node3"))
    await house.run(daemon.reload())
    await house.clock.advance(20)
    [flag] = await house.journal.host_flags()
    assert (flag.host, flag.draining) == ("node1", False)
    house.write(AUTO)
    await house.run(daemon.reload())
    await house.clock.advance(20)
    assert [host.detail for host in daemon.service.hosts() if host.name == "node1"] == ["cordoned"]


async def test_a_drain_goes_on_after_a_restart_without_asking_twice(house: House):
    """What migrates at the restart is adopted before the drain asks for more."""
    for number in range(3):
        house.vm(f"web{number}", "node1", memory_mib=4096)
    daemon = await house.go()
    await house.run(daemon.service.drain("node1", dry_run=False, requested_by="alice"))
    await house.clock.advance(5)
    await house.kill()
    again = await house.go()
    await house.clock.advance(400)
    assert [vm.name for vm in again.service.snapshot().vms if vm.host == "node1"] == []
    completed = [one.vm for one in await house.migrations() if one.state is MigrationState.COMPLETED]
    assert sorted(completed) == ["web0", "web1", "web2"]


async def test_a_killed_daemons_cooldowns_hold_in_the_next(house: House):
    uuids = hot_host(house)
    await house.go()
    await house.clock.advance(300)
    moved = {one.uuid for one in await house.migrations()}
    await house.kill()
    again = await house.go()
    await house.clock.advance(90)  # until no VM counts as just started
    assert moved
    assert all(again.service.snapshot().vm(uuid).hold for uuid in moved)
    assert not any(again.service.snapshot().vm(uuid).hold for uuid in set(uuids) - moved)


async def test_the_same_trouble_is_told_once(house: House):
    """Contention that nothing can relieve is no news at every look."""
    for number in range(4):
        house.vm(f"web{number}", "node1", cores=4.0, blockers=("a PCI device",))
    daemon = await house.go(AUTO + AT_ONCE)
    await house.clock.advance(600)
    before = len(await daemon.service.decisions(limit=100))
    await house.clock.advance(900)
    assert daemon.cycle.last is not None
    assert daemon.cycle.last.kind == "blocked"
    assert len(await daemon.service.decisions(limit=100)) == before <= 4


def _options() -> object:
    from scheduler.cluster.ports import MigrationOptions

    return MigrationOptions(persistent=True)


async def test_what_is_older_than_history_keep_is_forgotten_also_when_nothing_happens(house: House):
    uuid = house.vm("web1", "node1")
    daemon = await house.go(AUTO + AT_ONCE + '[history]\nkeep = "2h"\n')
    await house.run(daemon.service.migrate(["web1"], to="node2", dry_run=False, requested_by="alice"))
    await house.clock.advance(90)
    house.clock.jump_wall(3600)
    await house.clock.advance(90)
    assert len(await house.migrations()) == 1
    house.clock.jump_wall(3600)
    await house.clock.advance(90)
    assert await house.migrations() == []
    assert house.cluster.running_on(uuid) == ["node2"]


async def replayed(house: House, cycle: str, path: Path) -> tuple[str, str]:
    """The plan that the daemon's record has of a cycle, and the one that the command makes of its snapshot."""
    service = house.daemon.service
    decision, doings = await house.run(service.decision(cycle))
    assert doings.snapshot_kept
    path.write_text(await house.run(service.decided_on(cycle)))
    made = CliRunner().invoke(main, ["plan", "--snapshot", str(path), "--json"])
    recorded = json.dumps(decision.plan, indent=2, ensure_ascii=False) + "\n"
    return recorded, re.sub(r'"planning_seconds": [0-9.e-]+', '"planning_seconds": 0.0', made.stdout)


@pytest.mark.parametrize(
    "balance",
    [
        "",
        '[balance]\nobjective = "spread"\nminimum_gain = 0.01\nmax_moves = 2\nweights = { cpu = 0.5, memory = 2.0 }\n',
        '[balance]\nobjective = "pack"\n',
    ],
)
async def test_the_plan_of_a_cycle_that_acted_is_made_again_from_its_record(house: House, tmp_path: Path, balance: str):
    """Byte for byte, but for how long the planning took: on the daemon's clock of the test no time at all."""
    hot_host(house)
    house.vm("other", "node2", memory_mib=4096, cores=0.5)
    house.vm("db1", "node3", cores=0.3)
    daemon = await house.go(AUTO + AT_ONCE + PINNED + balance)
    await house.clock.advance(600)
    acted = [one for one in await daemon.service.decisions(limit=100) if one.kind == "plan"]
    assert acted
    assert {one.cycle for one in acted} == {one.cycle for one in await house.migrations()}
    for one in acted:
        recorded, made = await replayed(house, one.cycle, tmp_path / "snapshot.json")
        assert made == recorded


async def test_the_plans_of_a_drain_are_made_again_from_its_record(house: House, tmp_path: Path):
    for number in range(4):
        house.vm(f"web{number}", "node1", memory_mib=2048)
    daemon = await house.go()
    await house.run(daemon.service.drain("node1", dry_run=False, requested_by="alice"))
    await house.clock.advance(120)
    migrations = await house.migrations()
    cycles = {one.cycle for one in migrations}
    assert len(migrations) == 4
    for cycle in cycles:
        recorded, made = await replayed(house, cycle, tmp_path / "snapshot.json")
        assert made == recorded
        _, doings = await daemon.service.decision(cycle)
        assert doings.migrations == tuple(one for one in migrations if one.cycle == cycle)


async def test_only_cycles_that_acted_keep_their_snapshot(house: House):
    house.vm("web1", "node1")
    daemon = await house.go()
    await house.clock.advance(60)
    quiet, *_ = await daemon.service.decisions(limit=1)
    _, doings = await daemon.service.decision(quiet.cycle)
    assert (quiet.kind, doings.snapshot_kept) == ("quiet", False)
    with pytest.raises(ControlError, match="only cycles that acted have one"):
        await daemon.service.decided_on(quiet.cycle)
    with pytest.raises(ControlError, match="no decision of a cycle c9 is kept"):
        await daemon.service.decision("c9")


@pytest.mark.parametrize(
    ("removed", "at_s", "told"),
    [
        (
            {"node1"},
            5,
            "it runs on node2; node1, which it came from, is no host of the config any more: see that no copy",
        ),
        (
            {"node1"},
            60,
            "it runs on node2; node1, which it came from, is no host of the config any more: see that no copy",
        ),
        (
            {"node2"},
            5,
            "it is not on node1 any more; node2, where it was to go, is no host of the config any more: see",
        ),
        ({"node1", "node2"}, 5, "neither node1 nor node2 is a host of the config any more: nobody looked"),
    ],
)
async def test_a_migration_of_a_host_that_was_taken_out_over_a_restart_is_told_as_far_as_can_be_seen(
    house: House, removed: set[str], at_s: float, told: str
):
    """The other host is asked once the migration has ended, and nobody is waited for who will never answer."""
    house.vm("web1", "node1", memory_mib=4096)
    daemon = await house.go()
    [asked] = await house.run(daemon.service.migrate(["web1"], to="node2", dry_run=False, requested_by="alice"))
    await house.clock.advance(5)
    await house.kill()
    await house.clock.advance(at_s - 5)
    again = await house.start(AUTO, tuple(name for name in ("node1", "node2", "node3") if name not in removed))
    await house.clock.advance(60)
    ended = await again.service.migration(asked.id)
    assert ended.state is MigrationState.UNKNOWN
    assert ended.error.startswith(told)


async def test_a_migration_to_a_host_that_was_taken_out_over_a_restart_and_that_did_not_leave_has_failed(house: House):
    uuid = house.vm("web1", "node1", memory_mib=4096)
    daemon = await house.go()
    [asked] = await house.run(daemon.service.migrate(["web1"], to="node2", dry_run=False, requested_by="alice"))
    await house.clock.advance(5)
    await house.kill()
    again = await house.start(AUTO, ("node1", "node3"))
    await house.run(house.cluster.abort_job("node1", uuid))
    await house.clock.advance(10)
    ended = await again.service.migration(asked.id)
    assert (ended.state, ended.error) == (
        MigrationState.FAILED,
        "it did not leave node1; node2, where it was to go, is no host of the config any more",
    )
