"""The cycle: judge, plan, pass the gate, act or recommend, and say in one sentence what was done or why nothing was."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from ..cluster.model import Snapshot, Vm
from ..cluster.reason import Reason
from ..operations.clock import Clock
from ..operations.gate import Gate
from ..operations.history import span
from ..operations.journal import Journal, JournalError
from ..operations.migration import MigrationRequest, Migrations
from ..operations.records import Decision, Recommendation, RecommendationState, Trigger
from ..operations.settings import Mode
from ..planner import repair
from ..planner.plan import Plan, Step
from ..planner.settings import PlannerSettings
from .autostart import Autostart
from .cycle_account import Account, Outcome, account
from .herald import Herald
from .observer import Observer
from .planning import MAX_RESTARTS, Planning
from .view import View
from .waiting import happens

log = structlog.get_logger(__name__)

STUCK_S = 20.0
"""How much longer than its waits and its planning a round of the loop may take before it counts as stuck."""


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
        planning: Planning,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.last: Decision | None = None
        self.recommendations_pending = 0
        self._observer = observer
        self._view = view
        self._gate = gate
        self._journal = journal
        self._migrations = migrations
        self._autostart = autostart
        self._herald = herald
        self._planning = planning
        self._clock = clock
        self._count = 0
        self._told: object = None
        """The gist of the last decision that was news."""
        self._failure = ""
        self._alive_at_s = clock.monotonic()

    @property
    def sentence(self) -> str:
        """What the last cycle did, or why it did nothing."""
        return "no cycle yet" if self.last is None else self.last.sentence

    @property
    def stuck(self) -> bool:
        """Whether the loop should have come round by now and has not."""
        settings = self.settings
        planning_s = (1 + MAX_RESTARTS) * settings.planner.time_limit_seconds
        patience_s = settings.sample_interval_s + settings.event_debounce_s + planning_s
        return self._clock.monotonic() - self._alive_at_s > patience_s + STUCK_S

    async def run(self) -> None:
        """Cycle until cancelled."""
        sweep_at_s = self._clock.monotonic()
        while True:
            happened = await self._wait_for_event()
            self._alive_at_s = self._clock.monotonic()
            contended = await self._judge_contention()
            if happened or contended or self._alive_at_s >= sweep_at_s:
                await self.once()
                sweep_at_s = self._clock.monotonic() + self.settings.sweep_interval_s

    async def once(self) -> Decision:
        """One cycle. An error in it is told and journalled, and the next cycle comes all the same."""
        self._count += 1
        wall = self._clock.wall()
        cycle = f"{datetime.fromtimestamp(wall, UTC):%Y%m%dT%H%M%S}-{self._count}"
        started_s = self._clock.monotonic()
        with structlog.contextvars.bound_contextvars(cycle=cycle):
            try:
                found, ok = await self._decide_and_act(cycle, wall), True
            except Exception as error:
                if repr(error) != self._failure:  # the traceback once, not at every cycle that fails alike
                    log.exception("cycle failed")
                self._failure = repr(error)
                found, ok = _plain(cycle, wall, "error", f"cycle failed: {error!r}"), False
            else:
                self._failure = ""
            await self._tell(found, self._clock.monotonic() - started_s, ok=ok)
            await self._judge_standing()
        return found.decision

    async def _judge_contention(self) -> bool:
        try:
            return await self._view.judge_contention(self.settings.planner)
        except Exception:
            log.exception("contention could not be judged")
            return False

    async def _judge_standing(self) -> None:
        """After all was done: nobody waits for it."""
        try:
            standing = await self._planning.standing() if self._observer.all_heard else None
        except Exception:
            log.exception("how the cluster stands could not be judged")
            standing = None
        self._herald.standing(standing)

    async def _wait_for_event(self) -> bool:
        """Wait for an event or the next look at the load; whether it was an event. A burst of events is one."""
        changed = self._observer.changed
        if not await happens(changed, self.settings.sample_interval_s, self._clock):
            return False
        await self._clock.sleep(self.settings.event_debounce_s)
        changed.clear()
        return True

    async def _decide_and_act(self, cycle: str, wall: float) -> Account:
        if not self._observer.all_heard:
            return _plain(cycle, wall, "quiet", "waiting to hear of every host")
        self._observer.forget_gone()
        asked = await self._autostart.look(self._view.snapshot(), cycle, self.settings.mode_of)
        snapshot, made = await self._planning.balance(self.settings.planner, self._observer.changed)
        outcome = self._leave(snapshot, made.plan)
        await self._pass_gate(cycle, snapshot, await self._unasked(snapshot, made.plan), outcome)
        await self._recommend(cycle, wall, outcome.recommended)
        return replace(account(cycle, wall, asked, made.plan, outcome), basis=made.basis)

    def _leave(self, snapshot: Snapshot, found: Plan) -> Outcome:
        """Sort out what is not begun without a person: what is only watched, recommended, or was turned down."""
        outcome = Outcome()
        vms = {vm.uuid: vm for vm in snapshot.vms}
        for step in found.steps:
            mode = self.settings.mode_of(vms[step.uuid])
            if mode is Mode.OBSERVE:
                outcome.watched.append(step)
            elif mode is Mode.RECOMMEND:
                if refusal := self._gate.turned_down(step.uuid, step.destination):
                    outcome.held.append((step, (refusal,)))
                else:
                    outcome.recommended.append(step)
        return outcome

    async def _unasked(self, snapshot: Snapshot, found: Plan) -> list[Step]:
        """What may begin without a person. Only a first batch: the next is planned anew, on what is true by then.

        Where that waits behind moves that need approval, or are only watched, it is that of a plan which does without
        them: nobody may ever approve.
        """
        automatic = {vm.uuid for vm in snapshot.vms if self.settings.mode_of(vm) is Mode.AUTO}
        begin = [step for step in found.steps if step.batch == 1 and step.uuid in automatic]
        if begin or not found.steps or not automatic or all(step.uuid in automatic for step in found.steps):
            return begin
        blocker = "it moves only when a person says so"
        vms = tuple(
            vm if vm.uuid in automatic else replace(vm, movable=False, blockers=(*vm.blockers, blocker))
            for vm in snapshot.vms
        )
        alone = await self._planning.of(replace(snapshot, vms=vms), self.settings.planner)
        return [step for step in alone.steps if step.batch == 1]

    async def _pass_gate(self, cycle: str, snapshot: Snapshot, steps: list[Step], outcome: Outcome) -> None:
        """Begin what may be begun of `steps`."""
        for step in steps:
            trigger = trigger_of(step)
            reasons = self._partial_data(trigger) or self._gate.admit(
                step.uuid, step.source, step.destination, trigger, vms_total=len(snapshot.vms)
            )
            if reasons:
                outcome.held.append((step, reasons))
                continue
            await self._migrations.request(MigrationRequest.of(step, trigger, cycle=cycle))
            outcome.begun.append(step)

    def _partial_data(self, trigger: Trigger) -> tuple[Reason, ...]:
        """Just after a host was lost nothing is balanced: it may be back in a moment, or be the first of many."""
        lost = self._observer.lately_lost(self._gate.limits.warm_up_seconds)
        if trigger is not Trigger.BALANCE or not lost:
            return ()
        wait = span(self._gate.limits.warm_up_seconds)
        return (Reason("partial_data", f"{', '.join(lost)} cannot be seen, balancing waits {wait} for it"),)

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

    async def _tell(self, found: Account, seconds: float, *, ok: bool) -> None:
        # What is done has to be found by its cycle, though the last one did the same.
        news = found.gist != self._told or found.decision.kind == "plan"
        self.last, self._told = found.decision, found.gist
        self._herald.cycle(found.decision, seconds, unmoved=found.unmoved, ok=ok, news=news)
        try:
            if news:
                await self._journal.add_decision(found.decision, found.basis if found.acted else None)
            await self._journal.tidy(self._clock.wall())
        except JournalError as error:
            log.warning("a decision is not journalled", error=str(error))


def _plain(cycle: str, wall: float, kind: str, sentence: str) -> Account:
    return Account(decision=Decision(cycle=cycle, at=wall, kind=kind, sentence=sentence), gist=sentence)


def trigger_of(step: Step) -> Trigger:
    """Why a step is made, as a metric label."""
    return Trigger.RULE if step.reason.code == repair.CODE else Trigger.BALANCE
