"""A placement's row in the journal: written before each step, and settled at the next start when a crash came between.

DEFINING -> STARTING -> STARTED | FAILED, once for each host that is tried; REFUSED, when none could be.
"""

import asyncio
from dataclasses import replace

import structlog

from ..cluster.model import VmState
from ..cluster.ports import HypervisorError
from .context import Context
from .journal import JournalError
from .placement_account import Course, Order, account
from .records import Attempt, PlacementOutcome, PlacementRecord

log = structlog.get_logger(__name__)

SETTLE_SECONDS = 30.0
"""How long a start may go on within libvirt when the daemon that asked for it is gone."""
POLL_SECONDS = 0.5


class Entry:
    """The row of a placement that is being carried out."""

    def __init__(self, context: Context, order: Order) -> None:
        self._context = context
        self._order = order
        self._id = 0

    async def step(self, course: Course, outcome: PlacementOutcome) -> None:
        """Journal what is about to be done. JournalError: it must not be done."""
        await self._write(replace(self._record(course), outcome=outcome))

    async def end(self, course: Course) -> PlacementRecord:
        """Journal how it ended, save of a rehearsal (its id stays 0)."""
        record = self._record(course)
        return record if self._order.rehearsal is not None else await self._write(record)

    def _record(self, course: Course) -> PlacementRecord:
        return replace(account(self._order, course, self._context.clock.wall()), id=self._id)

    async def _write(self, record: PlacementRecord) -> PlacementRecord:
        if record.id:
            await self._context.journal.update_placement(record)
            return record
        written = await self._context.journal.add_placement(record)
        self._id = written.id
        return written


class Interrupted:
    """Placements that the journal has as under way and nobody carries out any more.

    `under_way` are the UUIDs of VMs that are being started, to which those that are being settled are added.
    """

    def __init__(self, context: Context, under_way: set[str]) -> None:
        self._context = context
        self._under_way = under_way
        self._tasks: set[asyncio.Task[None]] = set()

    async def settle(self) -> None:
        """Begin to find out what became of each; one whose host does not answer waits for the next call."""
        for record in await self._context.journal.placements_under_way():
            if record.uuid not in self._under_way:
                self._under_way.add(record.uuid)
                task = asyncio.create_task(self._settle(record), name=f"settle-placement-{record.id}")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Let go of all; the next start settles them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _settle(self, record: PlacementRecord) -> None:
        context, uuid, host = self._context, record.uuid, record.host or ""
        for vm in context.view.snapshot().vms:
            if vm.uuid == uuid and not vm.active:
                context.gate.reserve(vm, host)  # a start that still goes on takes its room
        try:
            ended = await self._found_out(record, host)
            await context.journal.update_placement(ended)
            await context.view.inspect(host)
        except (HypervisorError, JournalError) as error:
            log.info("an interrupted placement cannot be settled yet", vm=record.vm, error=str(error))
        else:
            context.listener(ended)
        finally:
            context.gate.release(uuid)
            self._under_way.discard(uuid)

    async def _found_out(self, record: PlacementRecord, host: str) -> PlacementRecord:
        """How it ended. Only a definition that was certainly never started is taken away again."""
        context = self._context
        if host not in {known.name for known in context.view.snapshot().hosts}:
            return self._failed(record, host, "which is no host any more")
        give_up_at_s = context.clock.monotonic() + SETTLE_SECONDS
        while True:
            domain = await context.cluster.domain(host, record.uuid)
            if domain is None:
                return self._failed(record, host, "it is not there")
            if domain.state is not VmState.STOPPED:
                return self._started(record, host)
            if record.outcome is PlacementOutcome.DEFINING:
                await context.cluster.undefine(host, record.uuid)
                return self._failed(record, host, "it was only defined: the definition is removed again")
            if context.clock.monotonic() >= give_up_at_s:
                return self._failed(record, host, "it is defined there and does not run")
            await context.clock.sleep(POLL_SECONDS)

    def _started(self, record: PlacementRecord, host: str) -> PlacementRecord:
        return replace(
            record,
            outcome=PlacementOutcome.STARTED,
            at=self._context.clock.wall(),
            reason=f"{record.reason}; the daemon ended while it was being started",
            attempts=(*record.attempts, Attempt(host=host)),
        )

    def _failed(self, record: PlacementRecord, host: str, found: str) -> PlacementRecord:
        return replace(
            record,
            outcome=PlacementOutcome.FAILED,
            at=self._context.clock.wall(),
            host=None,
            reason=f"the daemon ended while it was being started on {host}: {found}",
            attempts=(*record.attempts, Attempt(host=host, error=f"the daemon ended: {found}")),
        )
