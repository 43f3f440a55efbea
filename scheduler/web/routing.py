"""A route: its address, who may call it, and a typed function. The signature is the contract.

The function's parameters tell what is read from the request (`query` and `body` are models, all others stand in the
path), its annotated result what is answered; the OpenAPI document is made from the same.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from inspect import getdoc
from typing import get_type_hints

import structlog
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from .control import Control, ControlError
from .errors import invalid
from .models import Body, Query, to_json
from .peer import Role, RoleOf, peer_of

logger = structlog.get_logger(__name__)

Endpoint = Callable[..., Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What all routes of one application share."""

    control: Control
    role_of: RoleOf
    heartbeat_seconds: float
    """Between two signs of life on a quiet event stream."""
    stall_seconds: float
    """How long a reader of the event stream may not read before it is dropped."""
    openapi: Mapping[str, object]
    closing: asyncio.Event
    """The server ends: streams should, too."""


CONTEXT = web.AppKey("CONTEXT", Context)


@dataclass(frozen=True, slots=True)
class Call:
    """What an endpoint gets beside what it asks for."""

    context: Context
    requested_by: str
    """User name of the caller."""
    request: web.Request

    @property
    def control(self) -> Control:
        """The daemon's use cases."""
        return self.context.control


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path. `handle` is what aiohttp calls."""

    method: str
    path: str
    endpoint: Endpoint
    role: Role
    status: int
    """Of the answer when it worked."""
    parameters: Mapping[str, TypeAdapter[object]]
    """Those in the path, by name."""
    query: type[Query] | None
    body: type[Body] | None
    answer: type
    """A dataclass, or `web.StreamResponse` where the endpoint speaks for itself."""

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.endpoint.__name__

    @property
    def summary(self) -> str:
        """One line for people."""
        return (getdoc(self.endpoint) or "").partition("\n")[0]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Read the request, call the endpoint, answer."""
        started = time.monotonic()
        context, peer = request.app[CONTEXT], await peer_of(request)
        if context.role_of(peer) < self.role:
            raise ControlError("forbidden", f"{peer.user} may not do this: it needs the role {self.role.name.lower()}")
        arguments = await self._arguments(request)
        answer = await self.endpoint(Call(context, peer.user, request), **arguments)
        if self.role > Role.VIEWER:
            seconds = round(time.monotonic() - started, 3)
            logger.info("api_request", method=self.method, path=request.path, user=peer.user, seconds=seconds)
        if isinstance(answer, web.StreamResponse):
            return answer
        # Records do not change, and those of thousands of VMs take long enough to hold up everything else.
        text = await asyncio.to_thread(to_json, answer)
        return web.Response(text=text, status=self.status, content_type="application/json")

    async def _arguments(self, request: web.Request) -> dict[str, object]:
        arguments: dict[str, object] = {}
        where = "query"
        try:
            for name, adapter in self.parameters.items():
                where = name
                arguments[name] = adapter.validate_python(request.match_info[name])
            where = "query"
            if self.query is not None:
                arguments["query"] = self.query.model_validate(dict(request.query))
            where = "body"
            if self.body is not None:
                arguments["body"] = self.body.model_validate_json(await request.read() or b"{}")
        except ValidationError as error:
            raise invalid(error, where) from None
        return arguments


def route(
    method: str, path: str, *, role: Role = Role.VIEWER, status: int = 200, answer: type | None = None
) -> Callable[[Endpoint], Route]:
    """Make a route of a typed endpoint. `answer` is what the JSON of one that returns a whole response shows."""

    def make(endpoint: Endpoint) -> Route:
        hints = {name: hint for name, hint in get_type_hints(endpoint, include_extras=True).items() if hint is not Call}
        returned = hints.pop("return")
        query, body = hints.pop("query", None), hints.pop("body", None)
        return Route(
            method=method,
            path=path,
            endpoint=endpoint,
            role=role,
            status=status,
            parameters={name: TypeAdapter(hint) for name, hint in hints.items()},
            query=query,
            body=body,
            answer=answer or returned,
        )

    return make
