"""The API's routes, in the order of the documentation. Each is a thin translation of HTTP to one use case."""

import asyncio

from aiohttp import web

from ..cluster.codec import dump_snapshot
from ..cluster.matrix import Baseline, Matrix
from ..cluster.model import Snapshot, Vm
from ..cluster.reason import Reason
from ..cluster.rules import selects
from ..operations.access import Role
from ..operations.records import MigrationRecord, Recommendation
from ..planner.cost import cautions
from .control import ControlError, HostStatus, Status
from .events import stream
from .models import (
    CycleRecord,
    Decisions,
    DrainAnswer,
    DrainRequest,
    ExplainQuery,
    Explanation,
    Health,
    Hosts,
    MatrixQuery,
    MigrationRequest,
    Migrations,
    Name,
    Newest,
    PlacementRequest,
    Placements,
    Recommendations,
    RecordId,
    Reloaded,
    Requests,
    VmQuery,
    Vms,
)
from .routing import Call, Route, route

_MOST_TOLD = 20
"""Of the places in definitions that need another role: who sends more has other things in mind than to read them."""


@route("GET", "/v1/status")
async def get_status(call: Call) -> Status:
    """Show the daemon in one look."""
    return call.control.status()


@route("GET", "/v1/hosts")
async def list_hosts(call: Call) -> Hosts:
    """List all hosts."""
    return Hosts(call.control.hosts())


@route("GET", "/v1/hosts/{name}")
async def get_host(call: Call, name: Name) -> HostStatus:
    """Show one host."""
    for host in call.control.hosts():
        if host.name == name:
            return host
    raise ControlError("not_found", f"there is no host {name}")


@route("POST", "/v1/hosts/{name}/cordon", role=Role.OPERATOR)
async def cordon_host(call: Call, name: Name) -> HostStatus:
    """Let nothing start on a host or move to it any more."""
    return await call.control.cordon(name, requested_by=call.requested_by)


@route("POST", "/v1/hosts/{name}/uncordon", role=Role.OPERATOR)
async def uncordon_host(call: Call, name: Name) -> HostStatus:
    """Take a host into use again."""
    return await call.control.uncordon(name, requested_by=call.requested_by)


@route("POST", "/v1/hosts/{name}/drain", role=Role.OPERATOR)
async def drain_host(call: Call, name: Name, body: DrainRequest) -> DrainAnswer:
    """Cordon a host and move its VMs away."""
    return DrainAnswer(await call.control.drain(name, dry_run=body.dry_run, requested_by=call.requested_by))


@route("GET", "/v1/vms")
async def list_vms(call: Call, query: VmQuery) -> Vms:
    """List VMs, all or the selected ones."""
    vms = call.control.snapshot().vms
    return Vms([vm for vm in vms if query.name is None or _is_meant(vm, query.name)])


@route("GET", "/v1/vms/{vm}/explain")
async def explain_vm(call: Call, vm: Name, query: ExplainQuery) -> Explanation:
    """Say why a VM may or may not be on each host."""
    verdicts = await call.control.verdicts(vm, query.host)
    snapshot = call.control.snapshot()
    meant = [found for found in snapshot.vms if _is_meant(found, vm)]
    if len(meant) != 1:
        return Explanation(vm, None, verdicts)
    found = meant[0]
    careful = cautions(
        found, *(one for one in snapshot.hosts if query.host in {None, one.name} or one.name == found.host)
    )
    return Explanation(found.name, found.host, verdicts, found.hold, found.not_to, found.quarantine, careful)


@route("GET", "/v1/matrix")
async def show_matrix(call: Call, query: MatrixQuery) -> Matrix:
    """Say for each pair of hosts whether guests of the one, or a VM, can move to the other."""
    return await call.control.matrix(query.vm)


@route("GET", "/v1/matrix/baseline")
async def show_baseline(call: Call) -> Baseline:
    """Show the largest CPU that every host can run."""
    return await call.control.baseline()


@route("POST", "/v1/placements", role=Role.OPERATOR)
async def place_vms(call: Call, body: PlacementRequest) -> Placements:
    """Start VMs, each on its best host; new ones are defined first."""
    if body.definitions is not None:
        widening: list[Reason] = []
        if not call.caller.role.includes(Role.ADMIN):
            # In a thread: a definition may have as many elements as fit into a megabyte.
            widening = await asyncio.to_thread(call.control.widening, body.definitions)
        if widening:
            told = "; ".join(reason.text for reason in widening[:_MOST_TOLD])
            more = f" and {len(widening) - _MOST_TOLD} more" if len(widening) > _MOST_TOLD else ""
            raise ControlError("forbidden", f"that needs the role admin: {told}{more}", widening[:_MOST_TOLD])
        records = await call.control.place(
            body.definitions, host=body.host, dry_run=body.dry_run, requested_by=call.requested_by
        )
    else:
        records = await call.control.start(
            body.vms or [], host=body.host, dry_run=body.dry_run, requested_by=call.requested_by
        )
    return Placements(records)


@route("GET", "/v1/placements")
async def list_placements(call: Call, query: Newest) -> Placements:
    """List placements, newest first."""
    return Placements(await call.control.placements(limit=query.limit))


@route("POST", "/v1/migrations", role=Role.OPERATOR, status=202)
async def migrate_vms(call: Call, body: MigrationRequest) -> Migrations:
    """Check and begin migrations; one that may not be done is answered as failed."""
    return Migrations(
        await call.control.migrate(body.vms, to=body.to, dry_run=body.dry_run, requested_by=call.requested_by)
    )


@route("GET", "/v1/migrations")
async def list_migrations(call: Call, query: Newest) -> Migrations:
    """List migrations, newest first, running ones with their progress."""
    return Migrations(await call.control.migrations(limit=query.limit))


@route("GET", "/v1/migrations/{id}")
async def get_migration(call: Call, id: RecordId) -> MigrationRecord:  # noqa: A002 (the path's own word)
    """Show one migration."""
    return await call.control.migration(id)


@route("DELETE", "/v1/migrations/{id}", role=Role.OPERATOR)
async def abort_migration(call: Call, id: RecordId) -> MigrationRecord:  # noqa: A002 (the path's own word)
    """Abort a migration; the VM keeps running on its source."""
    return await call.control.abort(id, requested_by=call.requested_by)


@route("GET", "/v1/recommendations")
async def list_recommendations(call: Call) -> Recommendations:
    """List recommended moves."""
    return Recommendations(await call.control.recommendations())


@route("POST", "/v1/recommendations/{id}/approve", role=Role.OPERATOR)
async def approve_recommendation(call: Call, id: RecordId) -> MigrationRecord:  # noqa: A002 (the path's own word)
    """Do what was recommended."""
    return await call.control.approve(id, requested_by=call.requested_by)


@route("POST", "/v1/recommendations/{id}/dismiss", role=Role.OPERATOR)
async def dismiss_recommendation(call: Call, id: RecordId) -> Recommendation:  # noqa: A002 (the path's own word)
    """Turn a recommendation down."""
    return await call.control.dismiss(id, requested_by=call.requested_by)


@route("GET", "/v1/decisions")
async def list_decisions(call: Call, query: Newest) -> Decisions:
    """List what the latest cycles decided, newest first."""
    return Decisions(await call.control.decisions(limit=query.limit))


@route("GET", "/v1/decisions/{cycle}")
async def get_decision(call: Call, cycle: Name) -> CycleRecord:
    """Show what one cycle decided, on what figures, and what came of it."""
    return CycleRecord(*await call.control.decision(cycle))


@route("GET", "/v1/decisions/{cycle}/snapshot", answer=Snapshot)
async def get_decision_snapshot(call: Call, cycle: Name) -> web.Response:
    """Show the snapshot that a cycle which acted decided on, as the offline commands read it."""
    return web.Response(text=await call.control.decided_on(cycle), content_type="application/json")


@route("GET", "/v1/requests")
async def list_requests(call: Call, query: Newest) -> Requests:
    """List calls that changed something, newest first: who asked, for what, and how it ended."""
    return Requests(await call.control.requests(limit=query.limit))


@route("GET", "/v1/events")
async def follow_events(call: Call) -> web.StreamResponse:
    """Follow what happens, as server-sent events."""
    return await stream(call)


@route("GET", "/v1/snapshot", answer=Snapshot)
async def get_snapshot(call: Call) -> web.Response:
    """Show the whole cluster at one moment, as the offline commands read it."""
    text = await asyncio.to_thread(dump_snapshot, call.control.snapshot())
    return web.Response(text=text, content_type="application/json")


@route("POST", "/v1/reload", role=Role.ADMIN)
async def reload_config(call: Call) -> Reloaded:
    """Read the configuration again; a mistake in it changes nothing."""
    return Reloaded(await call.control.reload())


@route("GET", "/healthz")
async def check_health(_call: Call) -> Health:
    """Tell that the process answers."""
    return Health()


@route("GET", "/readyz")
async def check_readiness(call: Call) -> Health:
    """Tell whether the daemon is ready; 503 with the reason until it is."""
    status = call.control.status()
    if not status.ready:
        raise ControlError("unavailable", f"not ready: {status.sentence}")
    return Health("ready")


@route("GET", "/v1/openapi.json", answer=dict)
async def get_openapi(call: Call) -> dict[str, object]:
    """Show this API as an OpenAPI document."""
    return dict(call.context.openapi)


ROUTES: tuple[Route, ...] = (
    get_status,
    list_hosts,
    get_host,
    cordon_host,
    uncordon_host,
    drain_host,
    list_vms,
    explain_vm,
    show_matrix,
    show_baseline,
    place_vms,
    list_placements,
    migrate_vms,
    list_migrations,
    get_migration,
    abort_migration,
    list_recommendations,
    approve_recommendation,
    dismiss_recommendation,
    list_decisions,
    get_decision,
    get_decision_snapshot,
    list_requests,
    follow_events,
    get_snapshot,
    reload_config,
    check_health,
    check_readiness,
    get_openapi,
)


def _is_meant(vm: Vm, selector: str) -> bool:
    return selects(selector, name=vm.name, uuid=vm.uuid, labels=vm.labels)
