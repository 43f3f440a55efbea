"""The gate's budgets hold whatever is asked, in whatever order, however it ends."""

import asyncio
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from scheduler.operations.gate import Gate
from scheduler.operations.history import Move
from scheduler.operations.records import Trigger
from scheduler.operations.settings import Limits
from scheduler.simulation.clock import ManualClock

HOSTS = [f"node{number}" for number in range(4)]
VMS = [f"vm{number}" for number in range(8)]
VMS_TOTAL = 150
BUDGET = 3
LIMITS = Limits(min_moves_per_hour=1, cooldown_seconds=600.0, reverse_ban_seconds=3000.0, warm_up_seconds=60.0)


class GateMachine(RuleBasedStateMachine):
    """People, rules, drains and balancing all at once; some migrations fail, time passes, the daemon restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.gate = Gate(LIMITS, self.clock)
        self.opened_at = 0.0
        self.where = dict.fromkeys(VMS, HOSTS[0])
        self.asked: dict[str, tuple[str, str, Trigger]] = {}
        self.began: set[str] = set()
        self.done: list[tuple[float, Move]] = []

    @rule(vm=st.sampled_from(VMS), host=st.sampled_from(HOSTS), trigger=st.sampled_from(list(Trigger)))
    def ask(self, vm: str, host: str, trigger: Trigger) -> None:
        source = self.where[vm]
        if host == source or self.gate.admit(vm, source, host, trigger, vms_total=VMS_TOTAL):
            return
        assert vm not in self.asked, "admitted twice at the same time"
        if trigger is Trigger.BALANCE:
            self.balance_was_right(vm, host)
        self.gate.book(vm, source, host, trigger)
        self.asked[vm] = (source, host, trigger)

    @rule()
    def give_slots(self) -> None:
        self.began.update(vm for vm in self.asked if vm not in self.began and self.gate.begin(vm))

    @rule(vm=st.sampled_from(VMS), success=st.booleans())
    def end(self, vm: str, success: bool) -> None:
        if vm not in self.began:
            return
        source, host, trigger = self.asked.pop(vm)
        self.began.discard(vm)
        move = Move(vm, source, host, self.clock.wall(), trigger, success)
        self.gate.record_move(move)
        self.gate.end(vm)
        self.done.append((self.clock.monotonic(), move))
        if success:
            self.where[vm] = host

    @rule(seconds=st.sampled_from([1.0, 61.0, 700.0, 3700.0]))
    def pass_time(self, seconds: float) -> None:
        asyncio.run(self.clock.advance(seconds))

    @rule()
    def restart(self) -> None:
        self.gate = Gate(LIMITS, self.clock)
        self.opened_at = self.clock.monotonic()
        self.gate.restore(move for _, move in self.done)
        for vm, (source, host, trigger) in self.asked.items():
            if vm in self.began:
                self.gate.adopt(vm, source, host, trigger)
            else:
                self.gate.book(vm, source, host, trigger)

    def balance_was_right(self, vm: str, host: str) -> None:
        """What the gate let pass for balancing, judged anew from the whole history."""
        now = self.clock.monotonic()
        assert now - self.opened_at >= LIMITS.warm_up_seconds
        for at, move in self.done:
            if move.uuid != vm or not move.success:
                continue
            if move.trigger not in {Trigger.MANUAL, Trigger.ADOPTED}:
                assert now - at >= LIMITS.cooldown_seconds, "moved again within its cooldown"
            if move.source == host and move.trigger is not Trigger.DRAIN:
                assert now - at >= LIMITS.reverse_ban_seconds, "moved back"

    @invariant()
    def no_host_is_busier_than_allowed(self) -> None:
        inbound = Counter(self.asked[vm][1] for vm in self.began)
        outbound = Counter(self.asked[vm][0] for vm in self.began)
        assert max(inbound.values(), default=0) <= LIMITS.max_inbound
        assert max(outbound.values(), default=0) <= LIMITS.max_outbound
        for host in HOSTS:
            assert self.gate.slots(host) == (inbound[host], outbound[host])

    @invariant()
    def balancing_never_moves_more_than_its_share_of_an_hour(self) -> None:
        now = self.clock.monotonic()
        moves = [move.trigger for at, move in self.done if move.success and now - at < 3600.0]
        triggers = moves + [trigger for _, _, trigger in self.asked.values()]
        assert triggers.count(Trigger.BALANCE) <= BUDGET


TestGate = GateMachine.TestCase
TestGate.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
