"""A daemon in memory in which migrations go on by one state at each look."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from scheduler.cluster.reason import Reason
from scheduler.operations.records import (
    Attempt,
    Decision,
    MigrationRecord,
    MigrationState,
    PlacementOutcome,
    PlacementRecord,
    Recommendation,
    Trigger,
)
from scheduler.web.control import ControlError, HostStatus, Verdict
from tests.unit.web.memory import SHORT, MemoryControl, migration_record

NO_AVX2 = "node2 lacks avx2, which the guest's CPU has"
_NEXT = {
    MigrationState.QUEUED: MigrationState.MIGRATING,
    MigrationState.MIGRATING: MigrationState.VERIFYING,
    MigrationState.VERIFYING: MigrationState.COMPLETED,
}
REASONS = [{"code": "memory_short", "text": "needs 8,192 MiB, 2,048 MiB short"}]


class MovingControl(MemoryControl):
    """VMs named `big*` are refused everywhere; the migrations of those named `bad*` fail half way."""

    def __init__(self) -> None:
        super().__init__()
        self.in_use_again = False
        """Whether somebody uncordons each host as soon as its drain has begun."""
        self._drained: set[str] = set()
        self.records: list[MigrationRecord] = [migration_record(1)]
        self._numbers = count(2)
        self.recommended_moves: list[Recommendation] = [self.recommended]
        held = {"vm": "web1", "source": "node1", "destination": "node2", "reasons": REASONS}
        self.decided = [Decision(cycle="c2", at=110.0, sentence="1 move held back", kind="blocked", refused=(held,))]
        self.decided.append(Decision(cycle="c1", at=100.0, sentence="nothing to do", kind="quiet"))

    async def verdicts(self, vm: str, host: str | None) -> list[Verdict]:
        short = Reason(SHORT.code, SHORT.text, remedy="migrate web2 away from there first")
        return [replace(one, reasons=(short,)) if one.reasons else one for one in await super().verdicts(vm, host)]

    async def migrate(
        self, vms: Sequence[str], *, to: str | None, dry_run: bool, requested_by: str
    ) -> list[MigrationRecord]:
        self.asked.append(("migrate", tuple(vms), to, dry_run, requested_by))
        begun = [self._begin(vm, to or "node2", Trigger.MANUAL) for vm in vms if vm != "nothing-*"]
        if not dry_run:
            self.records = [*begun, *self.records]
        return begun

    async def migration(self, migration_id: int) -> MigrationRecord:
        self.records = [self._advance(each) if each.id == migration_id else each for each in self.records]
        return await super().migration(migration_id)

    async def migrations(self, *, limit: int) -> list[MigrationRecord]:
        self.records = [self._advance(each) for each in self.records]
        return self.records[:limit]

    async def abort(self, migration_id: int, *, requested_by: str) -> MigrationRecord:
        record = await super().migration(migration_id)
        return replace(record, state=MigrationState.ABORTED)

    async def drain(self, host: str, *, dry_run: bool, requested_by: str) -> dict[str, object]:
        self.asked.append(("drain", host, dry_run, requested_by))
        if host == "node9":
            raise ControlError("not_found", "there is no host node9; known: node1, node2")
        vms = {"node1": ["web1", "web2"], "node2": ["bad1"], "node3": []}[host]
        if not dry_run and not self.in_use_again:
            self._drained.add(host)
            self.records = [*(self._begin(vm, "node2", Trigger.DRAIN, host) for vm in vms), *self.records]
        unmoved = [{"vm": "big1", "host": "node3", "reasons": REASONS}] if host == "node3" else []
        return {"objective": "contention", "steps": [self._step(vm, host) for vm in vms], "unmoved": unmoved}

    def hosts(self) -> list[HostStatus]:
        return [replace(host, state="maintenance") if host.name in self._drained else host for host in super().hosts()]

    async def approve(self, recommendation_id: int, *, requested_by: str) -> MigrationRecord:
        self._recommendation(recommendation_id)
        record = self._begin("web1", "node2", Trigger.RECOMMENDATION)
        self.records = [record, *self.records]
        return record

    async def recommendations(self) -> list[Recommendation]:
        return self.recommended_moves

    async def reload(self) -> str:
        return "mode: recommend -> auto"

    async def decisions(self, *, limit: int) -> list[Decision]:
        return self.decided[:limit]

    def _placed(self, vm: str) -> PlacementRecord:
        placed = super()._placed(vm)
        if vm.startswith("big"):
            refused = ({"host": "node1", "reasons": REASONS}, {"host": "node2", "reasons": REASONS})
            return replace(
                placed, outcome=PlacementOutcome.REFUSED, host=None,
                reason="no host can take it: node1, node2: needs 8,192 MiB", ranking=(), attempts=(), refused=refused,
                moves_first=({"vm": "web1", "destination": "node2"},),
            )  # fmt: skip
        if vm.startswith("bad"):
            attempts = (Attempt(host="node1", error="disk is missing; no bus"), Attempt(host="node2", error="lost"))
            told = [f"{attempt.host} failed to start it: {attempt.error}" for attempt in attempts]
            reason = "; ".join([*told, "it may run there all the same"])
            return replace(placed, outcome=PlacementOutcome.FAILED, host=None, attempts=attempts, reason=reason)
        return replace(placed, reason="lowest load", ranking=({"host": "node1", "score": 0.4, "terms": {"cpu": 0.4}},))

    async def place(
        self, definitions: Sequence[str], *, host: str | None, dry_run: bool, requested_by: str
    ) -> list[PlacementRecord]:
        for number, definition in enumerate(definitions):
            if "<domain" not in definition:
                raise ControlError("invalid", f"definitions[{number}]: no domain")
        return await super().place(definitions, host=host, dry_run=dry_run, requested_by=requested_by)

    async def start(
        self, vms: Sequence[str], *, host: str | None, dry_run: bool, requested_by: str
    ) -> list[PlacementRecord]:
        started = await super().start(vms, host=host, dry_run=dry_run, requested_by=requested_by)
        if not dry_run:
            return started
        return [replace(e, outcome=PlacementOutcome.DRY_RUN) if e.host else e for e in started]

    def _begin(self, vm: str, to: str, trigger: Trigger, source: str = "node1") -> MigrationRecord:
        number = next(self._numbers)
        changes: dict[str, Any] = {"vm": vm, "source": source, "destination": to, "trigger": trigger}
        if vm.startswith("big"):
            return migration_record(number, state=MigrationState.FAILED, error=NO_AVX2, **changes)
        return migration_record(number, state=MigrationState.QUEUED, duration_seconds=None, **changes)

    def _advance(self, record: MigrationRecord) -> MigrationRecord:
        if record.vm.startswith("bad") and record.state is MigrationState.MIGRATING:
            return replace(record, state=MigrationState.FAILED, error="the connection to node2 broke")
        state = _NEXT.get(record.state, record.state)
        return replace(record, state=state, duration_seconds=8.0 if state is MigrationState.COMPLETED else None)

    def _step(self, vm: str, host: str) -> dict[str, object]:
        return {
            "vm": vm, "source": host, "destination": "node2", "batch": 1, "predicted_seconds": 10.0, "gain": 0.1,
            "reason": {"code": "drain", "text": "host is drained"},
        }  # fmt: skip


__all__ = ["NO_AVX2", "REASONS", "SHORT", "MovingControl"]
