"""The API as an aiohttp application: routes, error answers and limits, over any `Control`."""

import asyncio
from collections.abc import Callable
from functools import cache

from aiohttp import web

from ..operations.access import Access
from . import openapi
from .admission import Admission
from .control import Control
from .errors import Handler, errors_as_json
from .limits import ApiLimits
from .routes import ROUTES
from .routing import CONTEXT, Context


def create_app(
    control: Control,
    *,
    access: Callable[[], Access] = Access,
    limits: ApiLimits | None = None,
    heartbeat_seconds: float = 15.0,
    stall_seconds: float = 10.0,
) -> web.Application:
    """The API over `control`; serve it with `server.serve_api`. `access` is asked at every call."""
    limits = limits or ApiLimits()
    context = Context(
        control=control,
        admission=Admission(access, limits),
        limits=limits,
        heartbeat_seconds=heartbeat_seconds,
        stall_seconds=stall_seconds,
        openapi=_description(),
        closing=asyncio.Event(),
    )
    app = web.Application(middlewares=[errors_as_json, _admitted], client_max_size=limits.body_bytes)
    app[CONTEXT] = context
    app.on_shutdown.append(_end_streams)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.handle)
    return app


@web.middleware
async def _admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
    await request.app[CONTEXT].admission.admit(request)
    return await handler(request)


@cache
def _description() -> openapi.Schema:
    return openapi.document(ROUTES)


async def _end_streams(app: web.Application) -> None:
    app[CONTEXT].closing.set()
