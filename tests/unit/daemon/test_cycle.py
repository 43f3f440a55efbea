"""One cycle after another: what each says, recommends, starts and leaves alone."""

import pytest

from scheduler.operations.records import MigrationState, PlacementOutcome, RecommendationState
from scheduler.simulation.clock import ManualClock

from .conftest import AT_ONCE, AUTO, House

PINNED = '[[pins]]\nvm = "db*"\nhosts = ["node3"]\n'
WARM = "[limits]\nmax_moved_per_hour = 1.0\n"


def hot(house: House, **facts: object) -> list[str]:
    return [house.vm(f"web{number}", "node1", cores=3.0, **facts) for number in range(4)]  # type: ignore[arg-type]


async def test_a_comfortable_cluster_is_quiet_and_told_once(house: House):
    house.vm("web1", "node1", cores=1.0)
    daemon = await house.go()
    await house.clock.advance(600)
    [decision] = await daemon.service.decisions(limit=10)
    assert (decision.kind, decision.sentence) == ("quiet", "nothing to move, no VM waits and no memory is short")


async def test_balancing_waits_for_the_warm_up_and_says_so(house: House):
    hot(house)
    daemon = await house.go(AUTO + WARM)
    await house.clock.advance(200)
    assert daemon.cycle.last is not None
    assert daemon.cycle.last.kind == "blocked"
    assert "the daemon has just started" in daemon.cycle.last.sentence
    assert daemon.cycle.last.refused[0]["reasons"][0]["code"] == "warm_up"  # type: ignore[index]
    assert await house.ways() == []
    assert len(await daemon.service.decisions(limit=10)) <= 3
    await house.clock.advance(150)
    assert await house.ways()


async def test_in_observe_it_says_what_it_would_do(house: House):
    house.vm("db1", "node1")
    daemon = await house.start('mode = "observe"\n' + PINNED)
    decision = await house.cycle()
    assert decision.sentence.startswith("would move db1 node1 -> node3")
    assert decision.sentence.endswith("but only observes")
    assert await house.ways() == []
    assert await daemon.service.recommendations() == []


async def test_every_vm_has_its_own_mode(house: House):
    for name in ("db1", "db2", "db3"):
        house.vm(name, "node1")
    modes = '[[modes]]\nvm = "db2"\nmode = "recommend"\n[[modes]]\nvm = "db3"\nmode = "observe"\n'
    daemon = await house.start(AUTO + PINNED + modes)
    decision = await house.cycle()
    assert "moving db1" in decision.sentence
    assert "recommending db2" in decision.sentence
    assert [one.vm for one in await daemon.service.recommendations()] == ["db2"]
    assert [vm for vm, *_ in await house.ways()] == ["db1"]


@pytest.mark.parametrize("asked", ["db1", "db2", "db3"])
async def test_moves_that_wait_for_approval_do_not_stop_others(house: House, asked: str):
    names = ["db1", "db2", "db3"]
    for name in names:
        house.vm(name, "node1")
    await house.start(AUTO + WARM + PINNED + f'[[modes]]\nvm = "{asked}"\nmode = "recommend"\n')
    for _ in names:
        await house.cycle()
        await house.clock.advance(60)
    assert sorted(vm for vm, *_ in await house.ways()) == [name for name in names if name != asked]


async def test_recommendations_are_kept_while_they_hold_and_then_expire(house: House):
    uuid = house.vm("db1", "node1")
    daemon = await house.start('mode = "recommend"\n' + PINNED)
    assert (await house.cycle()).kind == "recommend"
    [first] = await daemon.service.recommendations()
    await house.cycle()
    assert await daemon.service.recommendations() == [first]
    assert len(await daemon.service.decisions(limit=10)) == 1
    house.cluster.end_guest("node1", uuid)
    await house.clock.advance(1)
    await house.cycle()
    assert await daemon.service.recommendations() == []
    expired = await house.journal.recommendation(first.id)
    assert expired is not None
    assert expired.state is RecommendationState.EXPIRED


async def test_an_error_is_told_and_the_next_cycle_comes(house: House):
    daemon = await house.start()
    await house.journal.close()
    house.clock.busy = lambda: daemon.planning.busy
    for _ in range(2):
        decision = await daemon.cycle.once()
        assert decision.kind == "error"
        assert decision.sentence.startswith("cycle failed: JournalError")
    assert "cycle failed" in daemon.service.status().sentence


async def test_a_loop_that_does_not_come_round_is_stuck(house: House):
    daemon = await house.go()
    await house.clock.advance(300)
    assert not daemon.cycle.stuck
    await house.kill()
    await house.clock.advance(60)
    assert daemon.cycle.stuck


ASKS = {"running": False, "placement_autostart": True}


async def test_a_vm_that_asks_for_it_is_placed_once(house: House):
    """Shut down afterwards it stays down, also after a restart of the daemon; undefined it is forgotten."""
    daemon = await house.go()
    uuid = house.vm("auto1", "node1", **ASKS)  # type: ignore[arg-type]
    await house.clock.advance(30)
    [host] = house.cluster.running_on(uuid)
    house.cluster.end_guest(host, uuid)
    await house.clock.advance(120)
    assert house.cluster.running_on(uuid) == []
    await house.kill()
    daemon = await house.go()
    await house.clock.advance(120)
    assert house.cluster.running_on(uuid) == []
    assert len(await daemon.service.placements(limit=10)) == 1
    await house.cluster.undefine(host, uuid)
    await house.clock.advance(30)
    assert await house.journal.autostarted() == frozenset()


async def test_one_that_fits_nowhere_is_told_but_not_journalled_over_and_over(house: House):
    house.vm("huge", "node1", memory_mib=60000, **ASKS)  # type: ignore[arg-type]
    daemon = await house.go()
    await house.clock.advance(600)
    assert daemon.cycle.last is not None
    assert daemon.cycle.last.kind == "blocked"
    assert daemon.cycle.last.sentence.startswith("huge asks to be placed: no host can take it: ")
    assert await daemon.service.placements(limit=10) == []
    assert len(await daemon.service.decisions(limit=10)) == 1
    assert not [notice for notice in daemon.notices._memory if notice.kind == "placement"]


async def test_room_that_comes_free_is_given_to_who_asked(house: House):
    uuid = house.vm("big", "node1", memory_mib=14000, **ASKS)  # type: ignore[arg-type]
    full = [house.vm(f"full{host}", host, memory_mib=8000) for host in ("node1", "node2", "node3")]
    await house.go()
    await house.clock.advance(60)
    assert house.cluster.running_on(uuid) == []
    house.cluster.end_guest("node2", full[1])
    await house.clock.advance(30)
    assert house.cluster.running_on(uuid) == ["node2"]


async def test_one_that_fails_everywhere_is_not_tried_for_ever(house: House):
    for host in ("node1", "node2", "node3"):
        house.cluster.host(host).start_error = "no such machine"
    house.vm("auto1", "node1", **ASKS)  # type: ignore[arg-type]
    daemon = await house.go()
    await house.clock.advance(300)
    [record] = await daemon.service.placements(limit=10)
    assert record.outcome is PlacementOutcome.FAILED


@pytest.mark.parametrize("mode", ['mode = "observe"\n', AUTO + '[[modes]]\nvm = "auto1"\nmode = "observe"\n'])
async def test_one_that_is_only_observed_is_not_started(house: House, mode: str):
    uuid = house.vm("auto1", "node1", **ASKS)  # type: ignore[arg-type]
    await house.go(mode)
    await house.clock.advance(120)
    assert house.cluster.running_on(uuid) == []


async def test_one_that_somebody_else_started_is_not_started_again(house: House):
    uuid = house.vm("auto1", "node2", placement_autostart=True)
    daemon = await house.go()
    await house.clock.advance(30)
    house.cluster.end_guest("node2", uuid)
    await house.clock.advance(120)
    assert house.cluster.running_on(uuid) == []
    assert await daemon.service.placements(limit=10) == []


async def test_slow_starts_hold_up_no_cycle(house: House):
    """A host that hangs while it starts a VM: meanwhile a broken rule is repaired elsewhere."""
    house.vm("auto1", "node2", **ASKS)  # type: ignore[arg-type]
    house.vm("db1", "node1")
    daemon = await house.start(AUTO + AT_ONCE + PINNED)
    house.cluster.host("node2").frozen = True
    before = house.clock.monotonic()
    decision = await house.cycle()
    assert house.clock.monotonic() == before
    assert decision.sentence.startswith("starting auto1, as defined to be; moving db1")
    await house.clock.advance(60)
    assert [one.state for one in await house.migrations()] == [MigrationState.COMPLETED]
    assert isinstance(house.clock, ManualClock)
    assert daemon.service.ready


async def test_contention_counts_on_the_last_looks_and_stops_while_a_host_is_not_seen(house: House):
    hot(house, blockers=("a PCI device",))
    daemon = await house.go()
    await house.clock.advance(100)
    assert 60 <= (daemon.service.snapshot().host("node1").contended_seconds or 0) <= 100
    house.cluster.cut("node1")
    await house.clock.advance(60)
    house.cluster.restore("node1")
    await house.clock.advance(30)
    assert (daemon.service.snapshot().host("node1").contended_seconds or 0) <= 40
