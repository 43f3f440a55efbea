"""The daemon's use cases, as the API offers them: `web.control.Control` over the rooms below."""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from .. import __version__
from ..cluster.matrix import Baseline, Matrix
from ..cluster.model import HostState, Snapshot, Vm
from ..cluster.ports import DefinitionError, HypervisorCluster, RefusedError
from ..cluster.reason import Reason
from ..config.models import Config
from ..config.reload import differences
from ..hypervisor.widening import Allowed, find_widening
from ..operations import patience
from ..operations.clock import Clock
from ..operations.drain import Drains
from ..operations.gate import Gate
from ..operations.history import Move, advice, texts
from ..operations.journal import HostFlag, Journal
from ..operations.migration import MigrationRequest, Migrations, record_of
from ..operations.placement import Placements
from ..operations.preflight import preflight
from ..operations.records import (
    Decision,
    Doings,
    MigrationRecord,
    MigrationState,
    PlacementRecord,
    Recommendation,
    RecommendationState,
    RequestRecord,
    Trigger,
)
from ..operations.rehearsal import Rehearsal
from ..operations.worker import Worker
from ..planner.cost import Paces, predict
from ..planner.placement import Refusal, check_move, choose_destination
from ..planner.settings import PlannerSettings
from ..planner.verdict import Verdict, verdicts
from ..web.control import ControlError, HostStatus, Notice, Status
from . import matrix
from .cycle import Cycle
from .hosts import host_status
from .notices import Notices
from .observer import Observer
from .roster import Roster
from .selection import chosen, known_host, one
from .view import View

ON_REQUEST = Reason("requested", "a person asked for it")


@dataclass(kw_only=True)
class Configured:
    """The config in force and what is wrong with the one on disk."""

    config: Config
    started_with: Config
    path: str
    error: str = ""

    @property
    def needs_restart(self) -> list[str]:
        """Keys that have another value than at the start, where they are taken in."""
        return list(differences(self.started_with, self.config).needs_restart)

    @property
    def planner(self) -> PlannerSettings:
        """How it wants moves planned."""
        return self.config.to_planner_settings()


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """What the use cases are made of."""

    configured: Configured
    cluster: HypervisorCluster
    observer: Observer
    view: View
    gate: Gate
    journal: Journal
    migrations: Migrations
    placements: Placements
    drains: Drains
    roster: Roster
    cycle: Cycle
    notices: Notices
    clock: Clock
    worker: Worker


class Service:
    """Implements `web.control.Control`. Every method is a use case; what it does is done in the rooms."""

    def __init__(self, rooms: Rooms, reload: Callable[[], Awaitable[str]]) -> None:
        self.ready = False
        self._rooms = rooms
        self._reload = reload
        self._started_at = rooms.clock.wall()

    # How things are

    def status(self) -> Status:
        """The daemon in one look."""
        rooms, snapshot, last = self._rooms, self._rooms.view.snapshot(), self._rooms.cycle.last
        return Status(
            version=__version__,
            mode=rooms.configured.config.mode.value,
            ready=self.ready,
            started_at=self._started_at,
            cycle=last.cycle if last else "",
            cycle_at=last.at if last else None,
            sentence=rooms.cycle.sentence,
            hosts_up=sum(host.state is not HostState.UNREACHABLE for host in snapshot.hosts),
            hosts_total=len(snapshot.hosts),
            vms_running=sum(vm.active for vm in snapshot.vms),
            vms_total=len(snapshot.vms),
            migrations_running=len(rooms.migrations.running()),
            recommendations_pending=rooms.cycle.recommendations_pending,
            config_path=rooms.configured.path,
            config_error=rooms.configured.error,
            config_needs_restart=rooms.configured.needs_restart,
            hosts_down={
                host.name: rooms.observer.detail(host.name)
                for host in snapshot.hosts
                if host.state is HostState.UNREACHABLE
            },
        )

    def hosts(self) -> list[HostStatus]:
        """All hosts, in the config's order."""
        rooms, snapshot = self._rooms, self._rooms.view.snapshot()
        vms: dict[str | None, list[Vm]] = defaultdict(list)
        for vm in snapshot.vms:
            for name in {vm.host, vm.destination} if vm.active else ():
                vms[name].append(vm)
        return [
            replace(
                host_status(
                    host,
                    vms[host.name],
                    uri=rooms.roster.uri(host.name),
                    detail=rooms.observer.detail(host.name),
                    age_s=rooms.observer.age_s(host.name),
                    flag=_word(rooms.drains.flag(host.name), leaves=host.name in rooms.gate.leaving),
                    slots=rooms.gate.slots(host.name),
                ),
                drain_ends_at=rooms.drains.ends_at(host.name),
            )
            for host in snapshot.hosts
        ]

    def snapshot(self) -> Snapshot:
        """The cluster, with what is under way, and what plans go by."""
        return replace(self._rooms.view.snapshot(), settings=self._rooms.configured.planner)

    async def verdicts(self, vm: str, host: str | None) -> list[Verdict]:
        """Where the VM may be, best first, then where it may not, why, and what would have to change."""
        snapshot, settings = self.snapshot(), self._rooms.configured.planner
        found = one(snapshot, vm)
        known_host(self._rooms.observer.names, host)
        return await self._rooms.worker.run(lambda cancelled: verdicts(snapshot, found, settings, host, cancelled))

    async def matrix(self, vm: str | None) -> Matrix:
        """What can move where, by the hosts' own answers, asked now."""
        snapshot, cluster = self.snapshot(), self._rooms.cluster
        if vm is None:
            return await matrix.of_hosts(cluster, snapshot)
        return await matrix.of_vm(cluster, snapshot, one(snapshot, vm), self._rooms.configured.planner)

    async def baseline(self) -> Baseline:
        """The largest CPU that every host can run."""
        return await matrix.baseline(self._rooms.cluster, self.snapshot())

    # Starting

    def widening(self, definitions: Sequence[str]) -> list[Reason]:
        """What in the definitions would reach into a host."""
        config = self._rooms.configured.config
        own = config.api.definitions
        allowed = Allowed(tuple(map(str, (*own.directories, *config.shared_directories))), own.pools)
        found = []
        for index, definition in enumerate(definitions):
            try:
                each = find_widening(definition, allowed)
            except DefinitionError as error:
                raise ControlError("invalid", f"definitions[{index}]: {error}") from error
            found += [Reason("reaches_into_host", f"definitions[{index}]: {one}") for one in each]
        return found

    async def place(
        self, definitions: Sequence[str], *, host: str | None, dry_run: bool, requested_by: str
    ) -> list[PlacementRecord]:
        """Define and start new VMs, one after the other: each sees the rooms taken by those before."""
        known_host(self._rooms.observer.names, host)
        placements = self._rooms.placements
        for index, definition in enumerate(definitions):
            try:
                self._rooms.cluster.read_definition(definition)
            except DefinitionError as error:
                raise ControlError("invalid", f"definitions[{index}]: {error}") from error
        rehearsal = Rehearsal() if dry_run else None
        return [
            await placements.place(definition, host=host, rehearsal=rehearsal, requested_by=requested_by)
            for definition in definitions
        ]

    async def start(
        self, vms: Sequence[str], *, host: str | None, dry_run: bool, requested_by: str
    ) -> list[PlacementRecord]:
        """Start defined VMs, one after the other. Of a glob, those that run already are passed over."""
        snapshot = self.snapshot()
        known_host(self._rooms.observer.names, host)
        placements, records, rehearsal = self._rooms.placements, [], Rehearsal() if dry_run else None
        for vm in chosen(snapshot, vms, wanted=lambda vm: not vm.active):
            try:
                record = await placements.start(vm.uuid, host=host, rehearsal=rehearsal, requested_by=requested_by)
            except KeyError:
                raise ControlError("not_found", f"{vm.name} is gone") from None
            records.append(record)
        return records

    async def placements(self, *, limit: int) -> list[PlacementRecord]:
        """The newest first."""
        return await self._rooms.journal.placements(limit=limit)

    # Migrating

    async def migrate(
        self, vms: Sequence[str], *, to: str | None, dry_run: bool, requested_by: str
    ) -> list[MigrationRecord]:
        """Check each move and begin those that can be made; of a glob, VMs that do not run are passed over."""
        snapshot = self.snapshot()
        known_host(self._rooms.observer.names, to)
        moving = chosen(snapshot, vms, wanted=lambda vm: vm.active)
        asked = {vm.host for vm in moving if vm.host} | ({to} if to else set())
        silent = await patience.silent(self._rooms.clock, self._rooms.view, asked)
        # Each decision sees the room that the ones before it have taken or, in a dry run, would have taken.
        records: list[MigrationRecord] = []
        for vm in moving:
            snapshot = _with_moves(patience.without(self.snapshot(), silent), records)
            records.append(await self._migrate(snapshot, vm, to=to, dry_run=dry_run, requested_by=requested_by))
        return records

    async def _migrate(
        self, snapshot: Snapshot, vm: Vm, *, to: str | None, dry_run: bool, requested_by: str
    ) -> MigrationRecord:
        settings = self._rooms.configured.planner
        if not any(known.uuid == vm.uuid for known in snapshot.vms):
            raise ControlError("not_found", f"{vm.name} is gone")
        current = snapshot.vm(vm.uuid)
        if to is None:
            choice = choose_destination(snapshot, current, settings)
            destination, refused = choice.host or "", _told(choice.refused if choice.host is None else ())
        else:
            reasons = check_move(snapshot, current, to, settings)
            destination, refused = to, advice(reasons) if dry_run else texts(reasons)
        if dry_run and not refused and current.host is not None:
            refused = advice(await preflight(self._rooms.cluster, current, destination, memory_port=True))
        cost = predict(current, Paces(snapshot, settings).between(current, current.host or "", destination))
        request = MigrationRequest(
            vm=current.name,
            uuid=current.uuid,
            source=current.host or "",
            destination=destination,
            trigger=Trigger.MANUAL,
            reason=ON_REQUEST,
            requested_by=requested_by,
            predicted_seconds=cost.seconds,
            predicted_downtime_ms=cost.downtime_ms,
            predicted_transfer_mib=cost.transferred_mib,
        )
        if dry_run:
            state = MigrationState.FAILED if refused else MigrationState.QUEUED
            return replace(record_of(request, self._rooms.clock.wall()), state=state, error=refused)
        if refused:
            return await self._rooms.migrations.refuse(request, refused)
        return await self._rooms.migrations.request(request)

    async def migrations(self, *, limit: int) -> list[MigrationRecord]:
        """The newest first; those under way with their progress."""
        running = {record.id: record for record in self._rooms.migrations.running()}
        return [running.get(record.id, record) for record in await self._rooms.journal.migrations(limit=limit)]

    async def migration(self, migration_id: int) -> MigrationRecord:
        """One migration."""
        running = self._rooms.migrations.get(migration_id)
        record = running or await self._rooms.journal.migration(migration_id)
        if record is None:
            raise ControlError("not_found", f"there is no migration {migration_id}")
        return record

    async def abort(self, migration_id: int, *, requested_by: str) -> MigrationRecord:
        """Have a migration end with the VM on its source."""
        record = await self.migration(migration_id)
        if record.state.final:
            raise ControlError("conflict", f"migration {migration_id} of {record.vm} has ended: {record.state}")
        try:
            return await self._rooms.migrations.abort(migration_id, f"{requested_by} aborted it")
        except KeyError:
            raise ControlError("conflict", f"migration {migration_id} of {record.vm} has just ended") from None
        except RefusedError as error:
            raise ControlError("conflict", f"migration {migration_id} of {record.vm}: {error.text}") from None

    # Decisions

    async def decisions(self, *, limit: int) -> list[Decision]:
        """The newest first."""
        return await self._rooms.journal.decisions(limit=limit)

    async def decision(self, cycle: str) -> tuple[Decision, Doings]:
        """What one cycle decided, and what came of it."""
        found = await self._rooms.journal.decision(cycle)
        if found is None:
            raise ControlError("not_found", f"no decision of a cycle {cycle} is kept")
        return found, await self._rooms.journal.doings(cycle)

    async def decided_on(self, cycle: str) -> str:
        """The snapshot that a cycle decided on."""
        found = await self._rooms.journal.snapshot(cycle)
        if found is None:
            raise ControlError("not_found", f"no snapshot of a cycle {cycle} is kept: only cycles that acted have one")
        return found

    async def recommendations(self) -> list[Recommendation]:
        """Those that wait for a person, oldest first."""
        return await self._rooms.journal.pending_recommendations()

    async def approve(self, recommendation_id: int, *, requested_by: str) -> MigrationRecord:
        """Do what was recommended, if it still can be done."""
        found = await self._pending_recommendation(recommendation_id)
        fresh = await self._rooms.view.refresh(found.source, found.destination)
        vm = next((vm for vm in fresh.vms if vm.uuid == found.uuid and vm.host == found.source), None)
        if vm is None:
            await self._rooms.journal.set_recommendation_state(found.id, RecommendationState.EXPIRED)
            self._rooms.observer.changed.set()
            raise ControlError("conflict", f"{found.vm} is not on {found.source} any more")
        if reasons := check_move(fresh, vm, found.destination, self._rooms.configured.planner):
            raise ControlError("refused", f"{found.vm} cannot move to {found.destination}: {texts(reasons)}", reasons)
        await self._rooms.journal.set_recommendation_state(found.id, RecommendationState.APPROVED)
        self._rooms.observer.changed.set()
        cost = predict(vm, Paces(fresh, self._rooms.configured.planner).between(vm, found.source, found.destination))
        return await self._rooms.migrations.request(
            MigrationRequest(
                vm=found.vm,
                uuid=found.uuid,
                source=found.source,
                destination=found.destination,
                trigger=Trigger.RECOMMENDATION,
                reason=Reason(found.reason_code, found.reason),
                requested_by=requested_by,
                cycle=found.cycle,
                predicted_seconds=cost.seconds,
                predicted_downtime_ms=cost.downtime_ms,
                predicted_transfer_mib=cost.transferred_mib,
            )
        )

    async def dismiss(self, recommendation_id: int, *, requested_by: str) -> Recommendation:
        """Do not do it; the VM is left alone as if a person had put it where it is."""
        found = await self._pending_recommendation(recommendation_id)
        await self._rooms.journal.set_recommendation_state(found.id, RecommendationState.DISMISSED)
        here = Move(
            found.uuid, found.destination, found.source, self._rooms.clock.wall(), Trigger.ADOPTED, success=True
        )
        self._rooms.gate.record_move(here)
        self._rooms.observer.changed.set()
        await self._rooms.journal.add_move(here)
        self._rooms.notices.publish(
            "decision", f"{requested_by} dismissed moving {found.vm} to {found.destination}", id=found.id
        )
        return replace(found, state=RecommendationState.DISMISSED)

    async def _pending_recommendation(self, recommendation_id: int) -> Recommendation:
        found = await self._rooms.journal.recommendation(recommendation_id)
        if found is None:
            raise ControlError("not_found", f"there is no recommendation {recommendation_id}")
        if found.state is not RecommendationState.PENDING:
            raise ControlError("conflict", f"recommendation {recommendation_id} is {found.state}")
        return found

    # Hosts

    async def cordon(self, host: str, *, requested_by: str) -> HostStatus:
        """Nothing moves to it or starts on it any more."""
        known_host(self._rooms.observer.names, host)
        await self._rooms.drains.cordon(host, requested_by=requested_by)
        return self._host(host)

    async def uncordon(self, host: str, *, requested_by: str) -> HostStatus:
        """It is in service again; a drain of it ends."""
        known_host(self._rooms.observer.names, host)
        await self._rooms.drains.uncordon(host)
        self._rooms.notices.publish("host", f"{requested_by} put {host} into service", host=host)
        return self._host(host)

    async def drain(self, host: str, *, dry_run: bool, requested_by: str) -> dict[str, object]:
        """Cordon it and move its VMs away; returns the plan."""
        known_host(self._rooms.observer.names, host)
        drains = self._rooms.drains
        plan = await (drains.plan(host) if dry_run else drains.drain(host, requested_by=requested_by))
        return plan.as_dict()

    def _host(self, name: str) -> HostStatus:
        return next(host for host in self.hosts() if host.name == name)

    # The rest

    async def reload(self) -> str:
        """Read the config again; what changed, in one line."""
        return await self._reload()

    async def begin_request(self, request: RequestRecord) -> RequestRecord:
        """Journal a call that is about to change something."""
        return await self._rooms.journal.begin_request(replace(request, at=self._rooms.clock.wall()))

    async def end_request(self, request_id: int, outcome: str) -> None:
        """Journal how it ended."""
        await self._rooms.journal.end_request(request_id, outcome)

    async def requests(self, *, limit: int) -> list[RequestRecord]:
        """The newest first."""
        return await self._rooms.journal.requests(limit=limit)

    def notices(self, after: int | None) -> AsyncIterator[Notice]:
        """What happens from now on."""
        return self._rooms.notices.listen(after)


def _word(flag: HostFlag | None, *, leaves: bool) -> str:
    if leaves:
        return "out of the config, let go when nothing is under way there"
    if flag is None:
        return ""
    return "draining" if flag.draining else "cordoned"


def _with_moves(snapshot: Snapshot, records: Iterable[MigrationRecord]) -> Snapshot:
    """The snapshot with these migrations on their way."""
    going = {record.uuid: record.destination for record in records if not record.state.final}
    return replace(
        snapshot,
        vms=tuple(replace(vm, destination=going[vm.uuid]) if vm.uuid in going else vm for vm in snapshot.vms),
    )


def _told(refusals: Iterable[Refusal]) -> str:
    """The refusals of all hosts in one line."""
    return "; ".join(f"{refusal.host}: {texts(refusal.reasons)}" for refusal in refusals)
