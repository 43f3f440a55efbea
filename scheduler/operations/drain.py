"""Takes hosts out of service: cordons them, and drains them until no VM is left that can leave."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from ..cluster.model import HostState, Snapshot
from ..cluster.reason import Reason
from ..planner.plan import Plan, Planned, Step, Unmoved
from .context import Context
from .journal import HostFlag, JournalError
from .migration import MigrationRequest, Migrations
from .records import Decision, MigrationState, Trigger

log = structlog.get_logger(__name__)

RETRY_SECONDS = 15.0
"""When nothing can leave now: how long until it is tried again."""

Evacuate = Callable[[Collection[str]], Awaitable[Planned]]
"""Plans the departure of all VMs from hosts, as things are now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainStatus:
    """How far a drain is."""

    host: str
    vms_left: tuple[str, ...]
    """Names of the VMs that are active there."""
    unmoved: tuple[Unmoved, ...]
    """Those that cannot leave now, and why."""
    ends_at: float | None
    """When all that can leave is expected to have left, Unix seconds; None when that was not planned yet."""


class Drains:
    """Which hosts are out of service, and the drains under way."""

    def __init__(self, context: Context, migrations: Migrations, evacuate: Evacuate) -> None:
        self._context = context
        self._migrations = migrations
        self._evacuate = evacuate
        self._flags: dict[str, HostFlag] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unmoved: dict[str, tuple[Unmoved, ...]] = {}
        self._ends_at: dict[str, float] = {}

    def cordoned(self) -> Collection[str]:
        """The hosts that take no VMs."""
        return self._flags.keys()

    def flag(self, host: str) -> HostFlag | None:
        """Who took the host out of service, and when; None when it is in service."""
        return self._flags.get(host)

    def status(self, host: str) -> DrainStatus:
        """How far the drain of a host is."""
        left = tuple(vm.name for vm in self._context.view.snapshot().vms if vm.active and vm.host == host)
        return DrainStatus(host=host, vms_left=left, unmoved=self._unmoved.get(host, ()), ends_at=self.ends_at(host))

    def ends_at(self, host: str) -> float | None:
        """When a drain under way is expected to have moved all that can leave, Unix seconds; told anew at each step."""
        return self._ends_at.get(host)

    async def plan(self, host: str) -> Plan:
        """What a drain would do now."""
        return (await self._evacuate((host,))).plan

    async def cordon(self, host: str, *, requested_by: str = "") -> None:
        """Nothing moves to the host or starts on it any more. A drain under way goes on."""
        if host not in self._flags:
            await self._set(host, draining=False, requested_by=requested_by)

    async def drain(self, host: str, *, requested_by: str = "") -> Plan:
        """Cordon the host and begin to move its VMs away; returns what is planned at first."""
        plan = await self.plan(host)
        await self._set(host, draining=True, requested_by=requested_by)
        self._begin(host)
        return plan

    async def uncordon(self, host: str) -> None:
        """Put the host into service. A drain ends: what has not begun to move stays."""
        await self._context.journal.clear_host_flag(host)
        self._flags.pop(host, None)
        await self._end(host)
        self._forget(host)
        for record in self._migrations.running():
            waiting = record.state is MigrationState.QUEUED and record.trigger is Trigger.DRAIN
            if waiting and record.source == host:
                await self._migrations.abort(record.id, f"{host} is in service again")

    async def let_go(self, host: str) -> None:
        """The host is taken out of the config: its drain asks for nothing more. Should it come back, it is cordoned."""
        await self._end(host)
        self._forget(host)
        if (flag := self._flags.get(host)) and flag.draining:
            await self._set(host, draining=False, requested_by=flag.requested_by)

    async def restore(self) -> None:
        """At start: the flags as journalled; drains go on."""
        for flag in await self._context.journal.host_flags():
            self._flags[flag.host] = flag
            if flag.draining:
                self._begin(flag.host)

    async def stop(self) -> None:
        """Let go of all drains; they stand in the journal for `restore`."""
        for host in list(self._tasks):
            await self._end(host)

    async def wait(self, host: str) -> None:
        """Wait until the drain of a host has ended."""
        if task := self._tasks.get(host):
            await asyncio.wait({task})

    async def _set(self, host: str, *, draining: bool, requested_by: str) -> None:
        flag = HostFlag(host=host, draining=draining, requested_by=requested_by, at=self._context.clock.wall())
        await self._context.journal.set_host_flag(flag)
        self._flags[host] = flag

    def _begin(self, host: str) -> None:
        if host not in self._tasks or self._tasks[host].done():
            self._tasks[host] = asyncio.create_task(self._see_through(host), name=f"drain-{host}")

    async def _end(self, host: str) -> None:
        task = self._tasks.pop(host, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _see_through(self, host: str) -> None:
        while self._occupied(host):
            try:
                await self._move_on(host)
            except Exception:
                # It may be the journal's disk or a host of the moment; a drain that ends unfinished misleads.
                log.exception("drain stumbled, it is tried again", host=host)
            await self._until_something_changes(host)
        self._forget(host)
        await self._set(host, draining=False, requested_by=self._flags[host].requested_by)

    def _occupied(self, host: str) -> bool:
        """Whether VMs are left there, or may be: a host that is not seen is not known to be empty."""
        snapshot = self._context.view.snapshot()
        if host not in {known.name for known in snapshot.hosts}:
            return False  # it was taken out of the config; should it come back, it is still cordoned
        left = any(vm.active and vm.host == host for vm in snapshot.vms)
        return left or bool(self._leaving(host)) or not _seen(snapshot, host)

    def _leaving(self, host: str) -> list[int]:
        """Ids of the migrations away from the host whose end is not verified yet."""
        return [record.id for record in self._migrations.running() if record.source == host]

    async def _move_on(self, host: str) -> None:
        """Ask for what can leave at once. The rest is planned anew when that is done.

        Hosts that are drained at the same time are planned together, so that they do not wait for the same others.
        """
        if not _seen(self._context.view.snapshot(), host):
            return
        draining = {host, *(name for name, flag in self._flags.items() if flag.draining)}
        known = {one.name for one in self._context.view.snapshot().hosts}
        made = await self._evacuate(sorted(draining & known))
        plan, at, begun = made.plan, self._context.clock.wall(), False
        cycle = f"{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%S}-drain-{host}"
        held: list[tuple[Step, tuple[Reason, ...]]] = []
        for step in plan.steps:
            if step.batch > 1 or step.source in draining - {host} or self._context.gate.busy(step.uuid):
                continue
            vms_total = len(self._context.view.snapshot().vms)
            reasons = self._context.gate.admit(
                step.uuid, step.source, step.destination, Trigger.DRAIN, vms_total=vms_total
            )
            if reasons:
                held.append((step, reasons))
            else:
                await self._migrations.request(self._wanted(step, host, cycle))
                begun = True
        back = tuple(Unmoved(vm=step.vm, host=step.source, reasons=reasons) for step, reasons in held)
        self._unmoved[host] = (*(one for one in plan.unmoved if one.host == host), *back)
        self._ends_at[host] = self._expected_end(host, plan)
        if begun:
            refused = tuple(step.held_back(reasons) for step, reasons in held)
            told = Decision(
                cycle=cycle, at=at, sentence=plan.summary, kind="plan", plan=plan.as_dict(), refused=refused
            )
            await self._note(told, made.basis)

    async def _note(self, decision: Decision, basis: Snapshot) -> None:
        try:
            await self._context.journal.add_decision(decision, basis)
        except JournalError as error:
            log.warning("a decision is not journalled", error=str(error))

    def _expected_end(self, host: str, plan: Plan) -> float:
        """When the plan is carried out and what left before it has arrived, if all goes on as predicted."""
        now = self._context.clock.wall()
        own = [step.start_seconds + step.predicted_seconds for step in plan.steps if step.source == host]
        flying = [record for record in self._migrations.running() if record.source == host and record.started_at]
        arrive = [(record.started_at or now) + (record.predicted_seconds or 0.0) for record in flying]
        return max(now + max(own, default=0.0), *arrive, now)

    def _forget(self, host: str) -> None:
        self._unmoved.pop(host, None)
        self._ends_at.pop(host, None)

    def _wanted(self, step: Step, host: str, cycle: str) -> MigrationRequest:
        requested_by = self._flags[host].requested_by
        return MigrationRequest.of(step, Trigger.DRAIN, cycle=cycle, requested_by=requested_by)

    async def _until_something_changes(self, host: str) -> None:
        """Until a VM has left or could not, or for a while when none is on its way."""
        leaving = self._leaving(host)
        if not leaving:
            await self._context.clock.sleep(RETRY_SECONDS)
            return
        ends = [asyncio.create_task(self._migrations.wait(migration_id)) for migration_id in leaving]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)


def _seen(snapshot: Snapshot, host: str) -> bool:
    return any(known.name == host and known.state is not HostState.UNREACHABLE for known in snapshot.hosts)
