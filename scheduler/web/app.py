"""The API as an aiohttp application: routes, error answers and limits, over any `Control`."""

import asyncio
from functools import cache

from aiohttp import web

from . import openapi
from .control import Control
from .errors import errors_as_json
from .peer import RoleOf, socket_decides
from .routes import ROUTES
from .routing import CONTEXT, Context

MAX_BODY_BYTES = 2 * 1024 * 1024
"""Room for dozens of domain definitions in one request."""


def create_app(
    control: Control,
    *,
    role_of: RoleOf = socket_decides,
    heartbeat_seconds: float = 15.0,
    stall_seconds: float = 10.0,
) -> web.Application:
    """The API over `control`; serve it with `server.serve_api`."""
    context = Context(
        control=control,
        role_of=role_of,
        heartbeat_seconds=heartbeat_seconds,
        stall_seconds=stall_seconds,
        openapi=_description(),
        closing=asyncio.Event(),
    )
    app = web.Application(middlewares=[errors_as_json], client_max_size=MAX_BODY_BYTES)
    app[CONTEXT] = context
    app.on_shutdown.append(_end_streams)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.handle)
    return app


@cache
def _description() -> openapi.Schema:
    return openapi.document(ROUTES)


async def _end_streams(app: web.Application) -> None:
    app[CONTEXT].closing.set()
