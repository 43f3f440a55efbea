"""What goes into the journal comes out of it, also after a crash."""

import random
import sqlite3
from dataclasses import replace

import pytest

from scheduler.cluster.codec import dump_snapshot
from scheduler.operations.history import Move
from scheduler.operations.journal import DefinitionMove, HostFlag, Journal, JournalError
from scheduler.operations.records import (
    Attempt,
    Decision,
    Doings,
    MigrationRecord,
    MigrationState,
    PlacementOutcome,
    PlacementRecord,
    Recommendation,
    RecommendationState,
    Trigger,
)
from scheduler.operations.settings import Retention
from tests.unit.clusters import cluster, host, vm

MIGRATION = MigrationRecord(
    id=0,
    vm="web",
    uuid="u",
    source="node1",
    destination="node2",
    trigger=Trigger.BALANCE,
    state=MigrationState.QUEUED,
    reason_code="contention",
    reason="node1 is short of CPU",
    requested_by="ann",
    cycle="c1",
    requested_at=1.0,
    predicted_seconds=4.5,
    predicted_downtime_ms=200,
    predicted_bytes=2**30,
)
PLACEMENT = PlacementRecord(
    id=0,
    vm="web",
    uuid="u",
    outcome=PlacementOutcome.STARTED,
    trigger=Trigger.MANUAL,
    at=2.0,
    host="node2",
    reason="node2: best",
    attempts=(Attempt(host="node1", error="no"), Attempt(host="node2")),
    ranking=({"host": "node1", "score": 1.0, "terms": {"cpu": 1.0}},),
    refused=({"host": "node3", "reasons": [{"code": "memory_short", "text": "short"}]},),
)
DECISION = Decision(
    cycle="c1", at=3.0, sentence="nothing to do", kind="quiet", plan={"steps": []}, refused=({"vm": "a"},)
)
RECOMMENDATION = Recommendation(
    id=0,
    vm="web",
    uuid="u",
    source="node1",
    destination="node2",
    trigger=Trigger.BALANCE,
    reason_code="contention",
    reason="why",
    gain=0.5,
    predicted_seconds=4.0,
    at=4.0,
    cycle="c1",
)
SNAPSHOT = cluster([host("a")], [vm("œ", "a")])


async def test_migrations_come_back_as_they_were(journal):
    added = await journal.add_migration(MIGRATION)
    assert added == replace(MIGRATION, id=1)
    done = replace(added, state=MigrationState.COMPLETED, ended_at=9.0, downtime_ms=80, transferred_bytes=1 << 40)
    await journal.update_migration(done)
    assert await journal.migration(1) == done
    assert await journal.migration(2) is None


async def test_unfinished_are_those_without_an_end_oldest_first(journal):
    for state in MigrationState:
        await journal.add_migration(replace(MIGRATION, state=state))
    assert [record.state.value for record in await journal.unfinished()] == [
        "queued",
        "checking",
        "migrating",
        "verifying",
    ]
    assert [record.id for record in await journal.migrations(limit=2)] == [8, 7]


async def test_autostart_is_noted_per_migration(journal):
    added = await journal.add_migration(MIGRATION)
    assert not await journal.autostart(added.id)
    await journal.note_autostart(added.id)
    await journal.update_migration(replace(added, state=MigrationState.MIGRATING))
    assert await journal.autostart(added.id)


async def test_moves_are_kept_for_a_week(journal):
    old = Move("a", "node1", "node2", 0.0, Trigger.DRAIN, success=False)
    new = Move("b", "node1", "node2", 8 * 86_400.0, Trigger.MANUAL, success=True)
    await journal.add_move(old)
    assert await journal.moves() == [old]
    await journal.add_move(new)
    assert await journal.moves() == [new]


async def test_placements_decisions_and_recommendations_come_back_as_they_were(journal):
    assert await journal.add_placement(PLACEMENT) == replace(PLACEMENT, id=1)
    assert await journal.placements(limit=9) == [replace(PLACEMENT, id=1)]
    await journal.add_decision(DECISION)
    assert await journal.decisions(limit=9) == [DECISION]
    assert await journal.add_recommendation(RECOMMENDATION) == replace(RECOMMENDATION, id=1)
    assert await journal.pending_recommendations() == [replace(RECOMMENDATION, id=1)]
    await journal.set_recommendation_state(1, RecommendationState.DISMISSED)
    assert await journal.pending_recommendations() == []
    assert (await journal.recommendation(1)).state is RecommendationState.DISMISSED
    assert await journal.recommendation(2) is None


async def test_what_is_old_goes_and_what_is_under_way_stays(journal):
    journal.retain(Retention(keep_seconds=10.0))
    for at in (1.0, 50.0):
        for state in (MigrationState.QUEUED, MigrationState.COMPLETED):
            await journal.add_migration(replace(MIGRATION, requested_at=at, state=state))
        for outcome in (PlacementOutcome.STARTING, PlacementOutcome.FAILED):
            await journal.add_placement(replace(PLACEMENT, at=at, outcome=outcome))
        for state in (RecommendationState.PENDING, RecommendationState.EXPIRED):
            await journal.add_recommendation(replace(RECOMMENDATION, at=at, state=state))
        await journal.add_decision(replace(DECISION, at=at))
    await journal.tidy(55.0)
    assert [(one.requested_at, one.state) for one in await journal.migrations(limit=9)] == [
        (50.0, "completed"), (50.0, "queued"), (1.0, "queued"),
    ]  # fmt: skip
    assert [(one.at, one.outcome) for one in await journal.placements(limit=9)] == [
        (50.0, "failed"), (50.0, "starting"), (1.0, "starting"),
    ]  # fmt: skip
    assert [one.at for one in await journal.pending_recommendations()] == [1.0, 50.0]
    assert [await journal.recommendation(number) is None for number in (1, 2, 3, 4)] == [False, True, False, False]
    assert [one.at for one in await journal.decisions(limit=9)] == [50.0]


async def test_the_file_never_grows_beyond_its_bound(tmp_path):
    path = tmp_path / "journal.db"
    journal = await Journal.open(path)
    journal.retain(Retention(max_size_mib=1))
    large = {"steps": ["x" * 100] * 2500}
    for number in range(20):
        await journal.add_decision(replace(DECISION, cycle=f"c{number}", at=float(number), plan=large))
        await journal.add_placement(replace(PLACEMENT, at=number + 0.5))
        await journal.tidy(100.0)
    kept = [decision.cycle for decision in await journal.decisions(limit=99)]
    assert kept == [f"c{number}" for number in range(19, 19 - len(kept), -1)]  # the newest, without a gap
    assert 2 <= len(kept) <= 4
    assert len(await journal.placements(limit=99)) <= len(kept) + 1
    await journal.close()
    assert 0.5 < path.stat().st_size / 2**20 <= 1.1
    assert not path.with_name("journal.db-wal").exists()


async def test_a_cycle_is_found_with_what_came_of_it(journal):
    await journal.add_decision(DECISION)
    await journal.add_decision(replace(DECISION, cycle="c2", sentence="something"))
    added = await journal.add_migration(MIGRATION)
    await journal.add_migration(replace(MIGRATION, cycle="c2"))
    placed = await journal.add_placement(replace(PLACEMENT, cycle="c1"))
    recommended = await journal.add_recommendation(RECOMMENDATION)
    assert await journal.decision("c1") == DECISION
    assert await journal.decision("c3") is None
    assert await journal.doings("c1") == Doings(
        migrations=(added,), placements=(placed,), recommendations=(recommended,)
    )
    assert await journal.doings("c3") == Doings()


async def test_a_snapshot_that_was_decided_on_comes_back_as_it_was(journal):
    await journal.add_decision(DECISION, SNAPSHOT)
    assert await journal.snapshot("c1") == dump_snapshot(SNAPSHOT)
    assert (await journal.doings("c1")).snapshot_kept
    assert await journal.snapshot("c2") is None


async def test_snapshots_are_a_ring_by_count_by_size_and_by_age(journal):
    label = random.Random(1).randbytes(300_000).hex()  # 300 kB when it is packed
    large = cluster([host("a", labels={"noise": label})], [])

    async def kept() -> list[int]:
        return [number for number in range(12) if await journal.snapshot(f"c{number}")]

    for number in range(12):
        await journal.add_decision(replace(DECISION, cycle=f"c{number}", at=float(number)), large)
    for retention, left in (
        (Retention(snapshots=8, snapshots_max_size_mib=10), list(range(4, 12))),
        (Retention(snapshots=8, snapshots_max_size_mib=1), [9, 10, 11]),
        (Retention(keep_seconds=89.5), [11]),
        (Retention(snapshots=0), []),
    ):
        journal.retain(retention)
        await journal.tidy(100.0)
        assert await kept() == left
    assert len(await journal.decisions(limit=99)) == 1  # the others went by their age, not with their snapshots


async def test_host_flags_last_until_they_are_cleared(journal):
    cordoned = HostFlag(host="node1", draining=False, requested_by="ann", at=1.0)
    draining = replace(cordoned, draining=True)
    await journal.set_host_flag(cordoned)
    await journal.set_host_flag(draining)
    assert await journal.host_flags() == [draining]
    await journal.clear_host_flag("node1")
    assert await journal.host_flags() == []


async def test_autostarted_vms_are_remembered_until_forgotten(journal):
    await journal.mark_autostarted("u", 1.0)
    await journal.mark_autostarted("u", 2.0)
    assert await journal.autostarted() == {"u"}
    await journal.forget_autostarted("u")
    assert await journal.autostarted() == frozenset()


async def test_definition_moves_are_there_until_they_ended(journal):
    await journal.begin_definition_move(DefinitionMove("u", "node1", "node2"))
    assert await journal.definition_moves() == [DefinitionMove("u", "node1", "node2")]
    await journal.end_definition_move("u")
    assert await journal.definition_moves() == []


async def test_what_was_written_is_on_the_disk_when_the_call_returns(tmp_path):
    path = tmp_path / "journal.db"
    journal = await Journal.open(path)
    await journal.add_migration(MIGRATION)
    # Another process reads it while the first has neither closed nor committed anything more.
    other = sqlite3.connect(path)
    assert other.execute("SELECT vm FROM migrations").fetchall() == [("web",)]
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    await journal.close()
    again = await Journal.open(path)
    assert [record.id for record in await again.unfinished()] == [1]
    await again.close()


async def test_a_place_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(JournalError, match="unable to open"):
        await Journal.open(tmp_path / "nowhere" / "journal.db")


async def test_a_closed_journal_says_that_it_cannot_be_written():
    journal = await Journal.open(":memory:")
    await journal.close()
    with pytest.raises(JournalError, match="cannot be written"):
        await journal.add_migration(MIGRATION)
    assert journal.pending == 0
