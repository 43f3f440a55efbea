"""All migrations under way: asked for, queued for slots, run, aborted, and taken up again after a restart.

A migration runs between the hosts themselves, so it outlives this process; `adopt` follows what runs, or has ended
meanwhile, to its verified end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Self

import structlog

from ..cluster.model import HostState, VmState
from ..cluster.observation import Event, EventKind, HostObservation
from ..cluster.ports import HypervisorError
from ..cluster.reason import Reason
from ..planner.plan import Step
from .context import Context
from .flight import Flight
from .history import texts
from .records import MigrationRecord, MigrationState, Trigger
from .settings import MigrationSettings

log = structlog.get_logger(__name__)

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationRequest:
    """What is wanted, why and by whom. `vm` is the name."""

    vm: str
    uuid: str
    source: str
    destination: str
    trigger: Trigger
    reason: Reason
    requested_by: str = ""
    cycle: str = ""
    predicted_seconds: float | None = None
    predicted_downtime_ms: float | None = None
    predicted_transfer_mib: float | None = None

    @classmethod
    def of(cls, step: Step, trigger: Trigger, *, cycle: str, requested_by: str = "") -> Self:
        """A step of a plan."""
        return cls(
            vm=step.vm,
            uuid=step.uuid,
            source=step.source,
            destination=step.destination,
            trigger=trigger,
            reason=step.reason,
            requested_by=requested_by,
            cycle=cycle,
            predicted_seconds=step.predicted_seconds,
            predicted_downtime_ms=step.predicted_downtime_ms,
            predicted_transfer_mib=step.predicted_transfer_mib,
        )


class Migrations:
    """The migrations of the cluster. `settings` may be replaced; migrations that began keep theirs."""

    def __init__(self, context: Context, settings: MigrationSettings) -> None:
        self.settings = settings
        self._context = context
        self._flights: dict[str, Flight] = {}
        """By VM UUID: a VM has at most one."""
        self._waiting: list[Flight] = []
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._adopting: set[asyncio.Task[None]] = set()
        self._stopped = False

    def running(self) -> tuple[MigrationRecord, ...]:
        """All that have not ended, with their progress, oldest first."""
        return tuple(sorted((flight.record for flight in self._flights.values()), key=lambda record: record.id))

    def get(self, migration_id: int) -> MigrationRecord | None:
        """One that has not ended; None when it has, or never was."""
        flight = self._flight(migration_id)
        return None if flight is None else flight.record

    async def request(self, request: MigrationRequest) -> MigrationRecord:
        """Ask for a migration; returns at once, with QUEUED, or with FAILED and why when the gate refuses.

        The request is checked again on fresh data when its turn has come. JournalError when it cannot be journalled.
        """
        gate, journal = self._context.gate, self._context.journal
        refused = gate.admit(
            request.uuid,
            request.source,
            request.destination,
            request.trigger,
            vms_total=len(self._context.view.snapshot().vms),
        )
        if refused:
            return await self.refuse(request, texts(refused))
        record = record_of(request, self._context.clock.wall())
        gate.book(request.uuid, request.source, request.destination, request.trigger)
        try:
            record = await journal.add_migration(record)
        except BaseException:
            gate.end(request.uuid)
            raise
        self._queue(record)
        return record

    async def refuse(self, request: MigrationRequest, why: str) -> MigrationRecord:
        """Write down that a request may not be carried out, and why. JournalError when it cannot be journalled."""
        record = record_of(request, self._context.clock.wall())
        ended = replace(record, state=MigrationState.FAILED, error=why, ended_at=record.requested_at)
        ended = await self._context.journal.add_migration(ended)
        self._context.listener(ended)
        return ended

    async def abort(self, migration_id: int, why: str) -> MigrationRecord:
        """Have a migration end with the VM on its source; KeyError when none of that id is under way."""
        flight = self._flight(migration_id)
        if flight is None:
            raise KeyError(migration_id)
        await flight.abort(why)
        return flight.record

    async def wait(self, migration_id: int) -> MigrationRecord:
        """Wait until a migration has ended; KeyError when there never was one of that id."""
        if task := self._tasks.get(migration_id):
            await asyncio.wait({task})
        record = await self._context.journal.migration(migration_id)
        if record is None:
            raise KeyError(migration_id)
        return record

    def on_event(self, event: Event) -> None:
        """Take in an event of any host."""
        flight = self._flights.get(event.uuid)
        if flight is not None:
            if event.kind is EventKind.JOB_COMPLETED and event.host == flight.record.source and event.stats:
                flight.take_statistics(event.stats)
        elif event.kind is EventKind.MIGRATION_ITERATION and not (self._stopped or self._context.gate.busy(event.uuid)):
            task = asyncio.create_task(self._adopt_foreign(), name=f"adopt-{event.uuid}")
            self._adopting.add(task)
            task.add_done_callback(self._adopting.discard)

    async def adopt(self) -> None:
        """At start: take up what the journal says was under way, and what runs on the hosts without it."""
        for record in await self._context.journal.unfinished():
            if record.state in {MigrationState.MIGRATING, MigrationState.VERIFYING}:
                self._follow(record)
            elif record.trigger is Trigger.MANUAL:
                self._context.gate.book(record.uuid, record.source, record.destination, record.trigger)
                self._queue(replace(record, state=MigrationState.QUEUED))
            else:
                await self._drop(record)
        await self._adopt_foreign()

    async def stop(self) -> None:
        """Let go of all: what migrates goes on, and stands in the journal for `adopt`."""
        self._stopped = True
        tasks = [*self._tasks.values(), *self._adopting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _queue(self, record: MigrationRecord) -> None:
        flight = Flight(self._context, self._settings_of(record.uuid), record)
        self._flights[record.uuid] = flight
        self._waiting.append(flight)
        self._begin(flight, flight.run)
        self._context.listener(record)
        self._grant()

    def _follow(self, record: MigrationRecord) -> None:
        self._context.gate.adopt(record.uuid, record.source, record.destination, record.trigger)
        flight = Flight(self._context, self._settings_of(record.uuid), record)
        self._flights[record.uuid] = flight
        self._begin(flight, flight.resume)
        self._context.listener(record)

    def _settings_of(self, uuid: str) -> MigrationSettings:
        vms = self._context.view.snapshot().vms if self.settings.classes else ()
        return self.settings.of(next((vm for vm in vms if vm.uuid == uuid), None))

    def _begin(self, flight: Flight, work: Callable[[], Awaitable[None]]) -> None:
        name = f"migration-{flight.record.id}"
        self._tasks[flight.record.id] = asyncio.create_task(self._see_through(flight, work), name=name)

    async def _see_through(self, flight: Flight, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:
            log.exception("migration broke off", migration=flight.record.id)
            await flight.give_up(f"internal error: {error!r}")
        finally:
            if flight in self._waiting:
                self._waiting.remove(flight)
            del self._flights[flight.record.uuid], self._tasks[flight.record.id]
            self._context.gate.end(flight.record.uuid)
            self._grant()

    def _grant(self) -> None:
        """Give free slots in the order of asking; who waits for a busy host lets those for other hosts pass."""
        for flight in list(self._waiting):
            if self._context.gate.begin(flight.record.uuid):
                self._waiting.remove(flight)
                flight.granted.set()

    def _flight(self, migration_id: int) -> Flight | None:
        return next((flight for flight in self._flights.values() if flight.record.id == migration_id), None)

    async def _drop(self, record: MigrationRecord) -> None:
        """What an old plan wanted is not begun on today's cluster; the plan is made anew."""
        ended = replace(
            record,
            state=MigrationState.ABORTED,
            error="the daemon restarted before it began",
            ended_at=self._context.clock.wall(),
        )
        await self._context.journal.update_migration(ended)
        self._context.listener(ended)

    async def _adopt_foreign(self) -> None:
        """Follow migrations that somebody else has begun, so that their hosts count as busy."""
        snapshot = self._context.view.snapshot()
        hosts = [host.name for host in snapshot.hosts if host.state is not HostState.UNREACHABLE]
        looks = await asyncio.gather(*map(self._context.cluster.observe, hosts), return_exceptions=True)
        seen = [look for look in looks if isinstance(look, HostObservation)]
        coming = {domain.uuid: look.host for look in seen for domain in look.domains if domain.incoming}
        for look in seen:
            for domain in look.domains:
                leaving = domain.uuid in coming and not domain.incoming and domain.state is not VmState.STOPPED
                if leaving and await self._job_runs(look.host, domain.uuid):
                    await self._follow_foreign(domain.name, domain.uuid, look.host, coming[domain.uuid])

    async def _job_runs(self, host: str, uuid: str) -> bool:
        try:
            return await self._context.cluster.job(host, uuid) is not None
        except HypervisorError:
            return False

    async def _follow_foreign(self, vm: str, uuid: str, source: str, destination: str) -> None:
        if self._context.gate.busy(uuid):
            return
        self._context.gate.adopt(uuid, source, destination, Trigger.ADOPTED)
        now = self._context.clock.wall()
        request = MigrationRequest(
            vm=vm,
            uuid=uuid,
            source=source,
            destination=destination,
            trigger=Trigger.ADOPTED,
            reason=Reason("adopted", "somebody else began it"),
        )
        record = replace(record_of(request, now), state=MigrationState.MIGRATING, started_at=now)
        try:
            record = await self._context.journal.add_migration(record)
        except BaseException:
            self._context.gate.end(uuid)
            raise
        self._follow(record)


def record_of(request: MigrationRequest, now: float) -> MigrationRecord:
    """The record of a request at its beginning: queued, not journalled yet. `now` in Unix seconds."""
    downtime_ms, transfer_mib = request.predicted_downtime_ms, request.predicted_transfer_mib
    return MigrationRecord(
        id=0,
        vm=request.vm,
        uuid=request.uuid,
        source=request.source,
        destination=request.destination,
        trigger=request.trigger,
        state=MigrationState.QUEUED,
        reason_code=request.reason.code,
        reason=request.reason.text,
        requested_by=request.requested_by,
        cycle=request.cycle,
        requested_at=now,
        predicted_seconds=request.predicted_seconds,
        predicted_downtime_ms=None if downtime_ms is None else round(downtime_ms),
        predicted_bytes=None if transfer_mib is None else round(transfer_mib * MIB),
    )
