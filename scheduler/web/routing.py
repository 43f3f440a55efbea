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

from ..operations.access import Role
from ..operations.records import RequestRecord
from .admission import CALLER, Admission
from .caller import Caller
from .control import Control, ControlError
from .errors import invalid
from .limits import ApiLimits
from .models import Body, Query, to_json

logger = structlog.get_logger(__name__)

Endpoint = Callable[..., Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What all routes of one application share."""

    control: Control
    admission: Admission
    limits: ApiLimits
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
    caller: Caller
    request: web.Request

    @property
    def requested_by(self) -> str:
        """The caller, as the journal names him."""
        return self.caller.name

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
        context, caller = request.app[CONTEXT], request[CALLER]
        if not caller.role.includes(self.role):
            logger.warning("api_request_refused", method=self.method, path=request.path, user=caller.name)
            raise ControlError("forbidden", f"{caller.name} may not do this: it needs the role {self.role.value}")
        arguments = await self._arguments(request, context.limits.body_seconds)
        call = Call(context, caller, request)
        do = self.endpoint if self.role is Role.VIEWER else self._change
        answer = await do(call, **arguments)
        if isinstance(answer, web.StreamResponse):
            return answer
        # Records do not change, and those of thousands of VMs take long enough to hold up everything else.
        text = await asyncio.to_thread(to_json, answer)
        return web.Response(text=text, status=self.status, content_type="application/json")

    async def _change(self, call: Call, **arguments: object) -> object:
        """Do what changes something, journalled before and after."""
        started = time.monotonic()
        body = arguments.get("body")
        asked = RequestRecord(
            requested_by=call.caller.name,
            role=call.caller.role.value,
            method=self.method,
            path=call.request.path,
            asked=body.told() if isinstance(body, Body) else {},
        )
        noted = await call.control.begin_request(asked)
        outcome = "unexpected"
        try:
            answer = await self.endpoint(call, **arguments)
            outcome = "done"
        except ControlError as error:
            outcome = error.kind
            raise
        finally:
            await call.control.end_request(noted.id, outcome)
            seconds = round(time.monotonic() - started, 3)
            logger.info(
                "api_request", method=self.method, path=asked.path, user=asked.requested_by, outcome=outcome,
                seconds=seconds,
            )  # fmt: skip
        return answer

    async def _arguments(self, request: web.Request, body_seconds: float) -> dict[str, object]:
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
                async with asyncio.timeout(body_seconds):
                    content = await request.read()
                arguments["body"] = self.body.model_validate_json(content or b"{}")
        except ValidationError as error:
            raise invalid(error, where) from None
        except TimeoutError:
            raise ControlError("too_slow", f"the body did not come within {body_seconds:g} s") from None
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
