"""One migration on its way: an explicit state machine, journalled before each step.

QUEUED -> CHECKING -> MIGRATING -> VERIFYING -> COMPLETED | FAILED | ABORTED | UNKNOWN
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from ..cluster.model import Snapshot, Vm, VmState
from ..cluster.observation import DomainObservation
from ..cluster.ports import BusyError, HypervisorError, MigrationOptions, NoHostError, NotFoundError, RefusedError
from .context import Context
from .convergence import Action, Convergence, Step, steps
from .history import Move, span, texts
from .journal import JournalError
from .outcome import Outcome, Sight, outcome, sight
from .preflight import preflight
from .progress import FinalFigures, final_figures, progress, ratio
from .records import MigrationRecord, MigrationState, Trigger
from .settings import MigrationSettings

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.5
SETTLE_SECONDS = 30.0
"""How long the two hosts may show something half-done after the call has ended."""
LOST_HOST_POLL_SECONDS = 5.0
JOURNAL_RETRY_SECONDS = 5.0
PATIENCE_SECONDS = 300.0
"""How long a host that cannot be asked is waited for before the outcome is given up as unknown."""


class _EndedError(Exception):
    """The migration ends before it has begun."""

    def __init__(self, state: MigrationState, text: str) -> None:
        super().__init__(text)
        self.state = state


@dataclass(frozen=True, slots=True)
class _Ending:
    """What was found out at the end, with what the destination then showed."""

    outcome: Outcome
    source: DomainObservation | None = None
    destination: DomainObservation | None = None


class Flight:
    """A migration's task and its record."""

    def __init__(self, context: Context, settings: MigrationSettings, record: MigrationRecord) -> None:
        self.record = record
        self.granted = asyncio.Event()
        """Set once its slots are taken."""
        self._context = context
        self._settings = settings
        self._figures = FinalFigures()
        self._halt = ""
        """Why it is to be aborted; empty while it is not."""
        elapsed_s = 0.0 if record.started_at is None else context.clock.wall() - record.started_at
        self._migrating_since_s = context.clock.monotonic() - max(elapsed_s, 0.0)
        self._convergence = Convergence(steps(settings))
        self._post_copy = False
        self._since_by_wall = record.started_at is not None
        """The wall clock may have jumped while nobody looked: the job knows better."""

    async def run(self) -> None:
        """From the queue to the end."""
        try:
            await self.granted.wait()
            self._heed_abort()
            await self._step(MigrationState.CHECKING)
            options = await self._check()
            self._heed_abort()
            await self._step(MigrationState.MIGRATING, started_at=self._context.clock.wall(), progress_ratio=0.0)
        except _EndedError as ended:
            await self._finish(ended.state, str(ended))
            return
        except (HypervisorError, JournalError) as error:
            await self._finish(MigrationState.FAILED, str(error))
            return
        self._migrating_since_s = self._context.clock.monotonic()
        error_text = await self._migrate(options)
        await self._verify(error_text)

    async def resume(self) -> None:
        """From the middle: a migration that this process did not begin, to its end."""
        with suppress(HypervisorError):
            while await self._look_at_job():
                await self._context.clock.sleep(POLL_SECONDS)
        await self._verify("")

    async def abort(self, why: str) -> None:
        """Have it end with the VM on its source; returns as soon as that is under way.

        RefusedError in post-copy: the guest runs on the destination already, and parts of its memory only there.
        """
        began = self.record.state in {MigrationState.MIGRATING, MigrationState.VERIFYING}
        if began:
            with suppress(HypervisorError):
                await self._look_at_job()
        if self._post_copy:
            why_not = f"in post-copy: it runs on {self.record.destination} already and cannot go back"
            raise RefusedError(self.record.source, why_not)
        self._halt = why
        self.granted.set()
        if began:
            try:
                await self._look_at_job()
            except HypervisorError as error:
                log.info("abort has to wait", migration=self.record.id, error=str(error))

    async def give_up(self, text: str) -> None:
        """End it in whatever state can still be told: after an error that nobody foresaw."""
        began = self.record.started_at is not None
        await self._finish(MigrationState.UNKNOWN if began else MigrationState.FAILED, text)

    def take_statistics(self, stats: Mapping[str, int | float | str]) -> None:
        """The source's final figures have come."""
        self._figures = final_figures(stats)

    # The steps

    async def _check(self) -> MigrationOptions:
        """A fresh look at both hosts; raises _EndedError when the migration may not be begun."""
        record, cluster = self.record, self._context.cluster
        snapshot = await self._context.view.refresh(record.source, record.destination)
        vm = next((vm for vm in snapshot.vms if vm.uuid == record.uuid), None)
        if vm is None or not vm.active or vm.host != record.source:
            raise _EndedError(MigrationState.FAILED, f"it does not run on {record.source} any more")
        if record.destination not in {host.name for host in snapshot.hosts}:
            raise _EndedError(MigrationState.FAILED, f"{record.destination} is no host any more")
        # Its own booking must not stand in its way.
        vm = replace(vm, destination=None)
        reasons = self._context.check(_with(snapshot, vm), vm, record.destination)
        if reasons:
            raise _EndedError(MigrationState.FAILED, texts(reasons))
        domain = await cluster.domain(record.source, record.uuid)
        if domain is None:
            raise _EndedError(MigrationState.FAILED, f"it does not run on {record.source} any more")
        if await cluster.job(record.source, record.uuid) is not None:
            raise _EndedError(MigrationState.FAILED, "somebody else is migrating it")
        if why := await preflight(cluster, vm, record.destination):
            raise _EndedError(MigrationState.FAILED, texts(why))
        if domain.autostart:
            await self._context.journal.note_autostart(record.id)
        return MigrationOptions(
            persistent=domain.persistent,
            bandwidth_mib_per_s=self._settings.bandwidth_mib_per_s,
            max_downtime_ms=self._settings.max_downtime_ms,
            auto_converge=self._settings.auto_converge,
            # A paused guest writes nothing, and QEMU does not switch it over.
            post_copy=self._settings.post_copy and domain.state is not VmState.PAUSED,
            parallel_connections=self._settings.parallel_connections,
            tls=self._settings.tls,
            copied_disks=tuple(disk.target for disk in vm.copied_disks),
        )

    async def _migrate(self, options: MigrationOptions) -> str:
        """Have it carried over and watch it; returns what the call complained of, or nothing."""
        record = self.record
        watching = asyncio.create_task(self._watch(), name=f"watch-migration-{record.id}")
        try:
            await self._context.cluster.migrate(record.uuid, record.source, record.destination, options)
        except HypervisorError as error:
            return error.text
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return ""

    async def _watch(self) -> None:
        while True:
            await self._context.clock.sleep(POLL_SECONDS)
            try:
                await self._look_at_job()
            except HypervisorError as error:
                log.debug("no progress to see", migration=self.record.id, error=str(error))

    async def _look_at_job(self) -> bool:
        """Take in the progress, and abort what is to be aborted; returns whether it still runs."""
        record, cluster, clock = self.record, self._context.cluster, self._context.clock
        try:
            job = await cluster.job(record.source, record.uuid)
        except (NotFoundError, NoHostError):
            return False
        if job is None or not job.outgoing:
            return False
        told = replace(self.record, progress_ratio=ratio(job, self.record.progress_ratio))
        self._tell(replace(told, progress=progress(job, clock.wall())))
        if self._since_by_wall:
            self._migrating_since_s = clock.monotonic() - job.elapsed_ms / 1000
            self._since_by_wall = False
        elapsed_s = clock.monotonic() - self._migrating_since_s
        self._post_copy = job.post_copy
        if elapsed_s > self._settings.timeout_seconds and not self._halt:
            self._halt = f"took longer than {span(self._settings.timeout_seconds)}"
        # What somebody else has begun is his to help.
        if record.trigger is not Trigger.ADOPTED and (step := self._convergence.note(job, clock.monotonic())):
            await self._help(step)
        if self._halt and not job.post_copy:
            try:
                await cluster.abort_job(record.source, record.uuid)
            except (NotFoundError, BusyError, RefusedError) as error:
                log.info("not to be aborted", migration=record.id, error=str(error))
        return True

    async def _help(self, step: Step) -> None:
        """Do something for a migration that makes no progress."""
        record, cluster = self.record, self._context.cluster
        log.info("makes no progress", migration=record.id, vm=record.vm, therefore=str(step))
        try:
            if step.action is Action.WIDEN_DOWNTIME:
                await cluster.set_max_downtime(record.source, record.uuid, step.downtime_ms)
            elif step.action is Action.POST_COPY:
                await cluster.start_post_copy(record.source, record.uuid)
            else:
                self._halt = "it made no progress: the guest writes memory as fast as it is carried over"
        except (NotFoundError, BusyError, RefusedError) as error:
            log.info("no help", migration=record.id, error=str(error))

    async def _verify(self, error: str) -> None:
        await self._step(MigrationState.VERIFYING)
        ending = await self._ending()
        state, text = ending.outcome.state, self._filled(ending.outcome.text)
        if state is MigrationState.FAILED and self._halt and ending.source is not None:
            state, text = MigrationState.ABORTED, self._halt
        elif state is MigrationState.FAILED:
            text = "; ".join(filter(None, (error, text))) or "it did not leave its source"
        elif state is MigrationState.COMPLETED and ending.destination is not None:
            text = "; ".join(filter(None, (text, await self._settle_in(ending.source, ending.destination))))
        await self._finish(state, text)

    async def _ending(self) -> _Ending:
        """Ask both hosts until what they show will not change by itself any more."""
        clock, record = self._context.clock, self.record
        give_up_at_s = settled_at_s = None
        while True:
            now_s = clock.monotonic()
            try:
                if await self._look_at_job():
                    settled_at_s = None
                else:
                    here, source = await self._see(record.source)
                    there, destination = await self._see(record.destination)
                    found = outcome(here, there)
                    # The job of a source that cannot be asked shows in the receiving half.
                    runs_on = here is Sight.UNSEEN and destination is not None and destination.incoming
                    settled_at_s = None if runs_on else settled_at_s or now_s + SETTLE_SECONDS
                    if not found.may_change or (settled_at_s is not None and now_s >= settled_at_s):
                        return _Ending(found, source, destination)
                give_up_at_s = None
            except HypervisorError as error:
                give_up_at_s = give_up_at_s or now_s + PATIENCE_SECONDS
                if now_s >= give_up_at_s:
                    return _Ending(Outcome(MigrationState.UNKNOWN, f"the outcome cannot be verified: {error}"))
            await clock.sleep(POLL_SECONDS if give_up_at_s is None else LOST_HOST_POLL_SECONDS)

    async def _see(self, host: str) -> tuple[Sight, DomainObservation | None]:
        """What a host shows of the VM, and what that amounts to."""
        try:
            domain = await self._context.cluster.domain(host, self.record.uuid)
        except NoHostError:
            return Sight.UNSEEN, None
        return sight(domain), domain

    async def _settle_in(self, source: DomainObservation | None, destination: DomainObservation) -> str:
        """Carry the autostart flag over, leave one definition; returns what did not work, for people."""
        record, cluster = self.record, self._context.cluster
        try:
            if await self._context.journal.autostart(record.id) and destination.persistent:
                await cluster.set_autostart(record.destination, record.uuid, autostart=True)
            if source is not None and destination.persistent:
                await cluster.undefine(record.source, record.uuid)
        except (HypervisorError, JournalError) as error:
            return f"it runs on {record.destination}, but: {error}"
        return ""

    async def _finish(self, state: MigrationState, error: str) -> None:
        """Write down the end, and remember it for the gate."""
        context, record, figures = self._context, self.record, self._figures
        ended_at = context.clock.wall()
        elapsed_s = None if record.started_at is None else context.clock.monotonic() - self._migrating_since_s
        completed = state is MigrationState.COMPLETED
        began = record.started_at is not None
        # People may be refused and ask again at once; what the daemon asks for by itself backs off.
        if completed or (record.trigger is not Trigger.MANUAL and (began or state is MigrationState.FAILED)):
            await self._remember(
                Move(record.uuid, record.source, record.destination, ended_at, record.trigger, completed)
            )
        if began:
            await context.view.refresh(record.source, record.destination)
        await self._step(
            state,
            error=error,
            ended_at=ended_at,
            # As a person sees it, with what both hosts do before and after the transfer that the job's figures tell of.
            duration_seconds=elapsed_s,
            downtime_ms=figures.downtime_ms if completed else None,
            transferred_bytes=figures.transferred_bytes,
            transfer_seconds=figures.transfer_seconds if completed else None,
            progress_ratio=1.0 if completed else record.progress_ratio,
            progress=None,
        )

    async def _remember(self, move: Move) -> None:
        self._context.gate.record_move(move)
        try:
            await self._context.journal.add_move(move)
        except JournalError as error:
            log.warning("a move is not journalled", migration=self.record.id, error=str(error))

    async def _step(self, state: MigrationState, **changes: object) -> None:
        """Journal the next state, then take it.

        A journal that fails stops what has not begun; what has begun goes on, for the VM matters more than the record.
        How it ended is written again until it stands: else the journal would tell for ever of what is long over.
        """
        record = replace(self.record, state=state, **changes)  # type: ignore[arg-type]
        while not await self._journalled(record) and state.final:
            await self._context.clock.sleep(JOURNAL_RETRY_SECONDS)
        self._tell(record)

    async def _journalled(self, record: MigrationRecord) -> bool:
        try:
            await self._context.journal.update_migration(record)
        except JournalError as error:
            if record.state in {MigrationState.CHECKING, MigrationState.MIGRATING}:
                raise
            log.warning(
                "a migration's state is not journalled", migration=record.id, state=record.state, error=str(error)
            )
            return False
        return True

    def _tell(self, record: MigrationRecord) -> None:
        if record != self.record:
            self.record = record
            self._context.listener(record)

    def _heed_abort(self) -> None:
        if self._halt:
            raise _EndedError(MigrationState.ABORTED, self._halt)

    def _filled(self, text: str) -> str:
        return text.format(source=self.record.source, destination=self.record.destination)


def _with(snapshot: Snapshot, changed: Vm) -> Snapshot:
    return replace(snapshot, vms=tuple(changed if vm.uuid == changed.uuid else vm for vm in snapshot.vms))
