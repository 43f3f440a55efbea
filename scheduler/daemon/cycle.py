"""The cycle: judge, plan, pass the gate, act or recommend, and say in one sentence what was done or why nothing was."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from ..cluster.model import Snapshot, Vm
from ..cluster.reason import Reason
from ..operations.clock import Clock
from ..operations.gate import Gate
from ..operations.history import texts
from ..operations.journal import Journal
from ..operations.migration import MigrationRequest, Migrations
from ..operations.records import Decision, Recommendation, RecommendationState, Trigger
from ..operations.settings import Mode
from ..planner import repair
from ..planner.balance import plan
from ..planner.plan import Plan, Step
from ..planner.settings import PlannerSettings
from .autostart import Autostart
from .herald import Herald
from .observer import Observer
from .view import View

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleSettings:
    """When cycles come, and what they may do by themselves."""

    planner: PlannerSettings
    mode: Mode
    sample_interval_s: float
    sweep_interval_s: float
    event_debounce_s: float
    mode_of: Callable[[Vm], Mode]
    """The mode that holds for a VM."""


@dataclass(slots=True)
class _Outcome:
    """What became of a plan's steps."""

    begun: list[Step] = field(default_factory=list)
    recommended: list[Step] = field(default_factory=list)
    watched: list[Step] = field(default_factory=list)
    held: list[tuple[Step, tuple[Reason, ...]]] = field(default_factory=list)


class Cycle:
    """Runs cycles for ever: when something happened, when contention has lasted, and at every sweep."""

    def __init__(  # noqa: PLR0913 - the joint of the house: everything meets here
        self,
        settings: CycleSettings,
        *,
        observer: Observer,
        view: View,
        gate: Gate,
        journal: Journal,
        migrations: Migrations,
        autostart: Autostart,
        herald: Herald,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.last: Decision | None = None
        self.recommendations_pending = 0
        self.alive_at_s = clock.monotonic()
        """When the loop last came round; the watchdog goes by it."""
        self._observer = observer
        self._view = view
        self._gate = gate
        self._journal = journal
        self._migrations = migrations
        self._autostart = autostart
        self._herald = herald
        self._clock = clock
        self._count = 0
        self._planning = ThreadPoolExecutor(1, thread_name_prefix="plan")

    async def run(self) -> None:
        """Cycle until cancelled."""
        sweep_at_s = self._clock.monotonic()
        try:
            while True:
                happened = await self._wait_for_event()
                self.alive_at_s = self._clock.monotonic()
                contended = self._view.judge_contention(self.settings.planner)
                if happened or contended or self.alive_at_s >= sweep_at_s:
                    await self.once()
                    sweep_at_s = self._clock.monotonic() + self.settings.sweep_interval_s
        finally:
            self._planning.shutdown(wait=False, cancel_futures=True)

    async def once(self) -> Decision:
        """One cycle. An error in it is told and journalled, and the next cycle comes all the same."""
        self._count += 1
        wall = self._clock.wall()
        cycle = f"{datetime.fromtimestamp(wall, UTC):%Y%m%dT%H%M%S}-{self._count}"
        started_s = self._clock.monotonic()
        with structlog.contextvars.bound_contextvars(cycle=cycle):
            try:
                decision, ok = await self._decide_and_act(cycle, wall), True
            except Exception as error:
                log.exception("cycle failed")
                decision, ok = Decision(cycle=cycle, at=wall, kind="error", sentence=f"cycle failed: {error!r}"), False
            await self._tell(decision, self._clock.monotonic() - started_s, ok=ok)
        return decision

    async def _wait_for_event(self) -> bool:
        """Wait for an event or the next look at the load; whether it was an event. A burst of events is one."""
        changed = self._observer.changed
        try:
            await asyncio.wait_for(changed.wait(), self.settings.sample_interval_s)
        except TimeoutError:
            return False
        await asyncio.sleep(self.settings.event_debounce_s)
        changed.clear()
        return True

    async def _decide_and_act(self, cycle: str, wall: float) -> Decision:
        if not self._observer.all_heard:
            return Decision(cycle=cycle, at=wall, kind="quiet", sentence="waiting to hear of every host")
        placed = await self._autostart.place_new(cycle, self.settings.mode)
        snapshot = self._view.snapshot()
        found = await self._plan(snapshot)
        outcome = await self._pass_gate(cycle, snapshot, found)
        await self._recommend(cycle, wall, outcome.recommended)
        return Decision(
            cycle=cycle,
            at=wall,
            kind=_kind(found, outcome, acted=bool(placed)),
            sentence="; ".join([*placed, _sentence(found, outcome)]),
            plan=found.as_dict(),
            refused=tuple(
                {
                    "vm": step.vm,
                    "source": step.source,
                    "destination": step.destination,
                    "reasons": [reason.as_dict() for reason in reasons],
                }
                for step, reasons in outcome.held
            ),
        )

    async def _plan(self, snapshot: Snapshot) -> Plan:
        """Plan in a worker thread: the loop must go on hearing events."""
        settings, clock = self.settings.planner, self._clock.monotonic
        return await asyncio.get_running_loop().run_in_executor(
            self._planning, lambda: plan(snapshot, settings, clock=clock)
        )

    async def _pass_gate(self, cycle: str, snapshot: Snapshot, found: Plan) -> _Outcome:
        """Begin what may be begun. Only the first batch: the next is planned anew, on what is true by then."""
        outcome = _Outcome()
        vms = {vm.uuid: vm for vm in snapshot.vms}
        for step in found.steps:
            mode = self.settings.mode_of(vms[step.uuid])
            if mode is Mode.OBSERVE:
                outcome.watched.append(step)
            elif mode is Mode.RECOMMEND:
                outcome.recommended.append(step)
            elif step.batch == 1:
                trigger = trigger_of(step)
                reasons = self._gate.admit(
                    step.uuid, step.source, step.destination, trigger, vms_total=len(snapshot.vms)
                )
                if reasons:
                    outcome.held.append((step, reasons))
                    continue
                await self._migrations.request(
                    MigrationRequest(
                        vm=step.vm,
                        uuid=step.uuid,
                        source=step.source,
                        destination=step.destination,
                        trigger=trigger,
                        reason=step.reason,
                        cycle=cycle,
                        predicted_seconds=step.predicted_seconds,
                    )
                )
                outcome.begun.append(step)
        return outcome

    async def _recommend(self, cycle: str, wall: float, steps: list[Step]) -> None:
        """Bring what waits for approval up to date: what no plan holds any more expires, what is new is added."""
        wanted = {(step.uuid, step.source, step.destination): step for step in steps}
        for pending in await self._journal.pending_recommendations():
            if wanted.pop((pending.uuid, pending.source, pending.destination), None) is None:
                await self._journal.set_recommendation_state(pending.id, RecommendationState.EXPIRED)
        self.recommendations_pending = len(steps)
        for step in wanted.values():
            await self._journal.add_recommendation(
                Recommendation(
                    id=0,
                    vm=step.vm,
                    uuid=step.uuid,
                    source=step.source,
                    destination=step.destination,
                    trigger=trigger_of(step),
                    reason_code=step.reason.code,
                    reason=step.reason.text,
                    gain=step.gain,
                    predicted_seconds=step.predicted_seconds,
                    at=wall,
                    cycle=cycle,
                )
            )

    async def _tell(self, decision: Decision, seconds: float, *, ok: bool) -> None:
        news = self.last is None or decision.kind != "quiet" or decision.sentence != self.last.sentence
        self.last = decision
        if news and ok:
            await self._journal.add_decision(decision)
        self._herald.cycle(decision, seconds, ok=ok, news=news)


def trigger_of(step: Step) -> Trigger:
    """Why a step is made, as a metric label."""
    return Trigger.RULE if step.reason.code == repair.CODE else Trigger.BALANCE


def _kind(found: Plan, outcome: _Outcome, *, acted: bool) -> str:
    if outcome.begun or acted:
        return "plan"
    if outcome.recommended:
        return "recommend"
    if outcome.held or found.unmoved:
        return "blocked"
    return "quiet"


def _sentence(found: Plan, outcome: _Outcome) -> str:
    if not found.steps:
        return found.summary
    parts = []
    if outcome.begun:
        parts.append(f"moving {_moves(outcome.begun)}")
    if outcome.recommended:
        parts.append(f"recommending {_moves(outcome.recommended)}")
    if outcome.watched:
        parts.append(f"would move {_moves(outcome.watched)}, but only observes")
    parts += [f"held back {step.vm} to {step.destination}: {texts(reasons)}" for step, reasons in outcome.held[:3]]
    return "; ".join(parts) or found.summary


def _moves(steps: list[Step]) -> str:
    shown = ", ".join(f"{step.vm} {step.source} -> {step.destination} ({step.reason.text})" for step in steps[:3])
    return shown if len(steps) <= 3 else f"{shown} and {len(steps) - 3} more"
