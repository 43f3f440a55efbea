"""The OpenAPI document: made from the routes' own signatures, so it cannot fall behind them."""

import re
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter

from .. import __version__
from ..cluster import refusing  # noqa: F401 - makes the kinds of a snapshot strict, which their schemas show
from .control import Notice
from .models import FailureAnswer
from .routing import Route

_REF = "#/components/schemas/{model}"
Schema = dict[str, Any]

_ABOUT = """Places, live-migrates and rebalances VMs across libvirt hosts, and says why.

On the unix socket nothing is to be sent to say who asks: the kernel tells (SO_PEERCRED, SO_PEERGROUPS), and
`[api.roles]` gives users and groups their roles. Over TLS every call needs a bearer token or a client certificate.
What role an operation needs is in its `x-role`."""
_SECURITY_SCHEMES: Schema = {
    "token": {"type": "http", "scheme": "bearer", "description": "Over TLS: a token of [[api.tokens]]."},
    "certificate": {"type": "mutualTLS", "description": "Over TLS: a client certificate of [[api.certificates]]."},
}
_FAILURES: dict[str, tuple[str, Schema]] = {
    "401": (
        "Neither a token nor a certificate that is known here",
        {"WWW-Authenticate": {"schema": {"type": "string"}}},
    ),
    "403": ("The caller's role does not reach", {}),
    "429": ("Too often; Retry-After says when again", {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}),
    "default": ("Not done, and why", {}),
}
"""Of every operation: what it means, and its headers."""
_FAILURES_OF_BODIES: dict[str, tuple[str, Schema]] = {
    "408": ("The body did not come in time", {}),
    "413": ("The body is too large; the message names the limit", {}),
}


def document(routes: Iterable[Route]) -> Schema:
    """OpenAPI 3.1 for `routes`."""
    routes = tuple(routes)
    by_type, components = _schemas(routes)
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "virt-scheduler",
            "version": __version__,
            "description": _ABOUT,
        },
        "security": [{name: []} for name in _SECURITY_SCHEMES],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _SECURITY_SCHEMES},
    }


def _schemas(routes: tuple[Route, ...]) -> tuple[dict[type, Schema], Schema]:
    """A schema for each type that is read or answered, and the components that they share."""
    read = {route.body for route in routes if route.body is not None}
    answered = {FailureAnswer, Notice} | {route.answer for route in routes if route.answer is not web.StreamResponse}
    schemas, shared = TypeAdapter.json_schemas(
        [
            *((model, "validation", TypeAdapter(model)) for model in sorted(read, key=str)),
            *((model, "serialization", TypeAdapter(model)) for model in sorted(answered, key=str)),
        ],
        ref_template=_REF,
    )
    components: Schema = shared.get("$defs", {})
    # A reason's numbers are for the daemon itself; callers get its code and its text.
    components["Reason"] = {
        "title": "Reason",
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("code", "text", "remedy")},
        "required": ["code", "text"],
    }
    return {model: schema for (model, _), schema in schemas.items()}, components


def _operation(route: Route, schemas: dict[type, Schema]) -> Schema:
    operation: Schema = {
        "operationId": route.name,
        "summary": route.summary,
        "x-role": route.role.value,
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_headers(route)],
        "responses": {
            str(route.status): {"description": "Done", "content": _content(route, schemas)},
            **_failures(route, schemas[FailureAnswer]),
        },
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": not route.body.may_be_absent(),
            "content": {"application/json": {"schema": schemas[route.body]}},
        }
    return operation


def _failures(route: Route, schema: Schema) -> Schema:
    known = _FAILURES if route.body is None else _FAILURES_OF_BODIES | _FAILURES
    return {
        status: {"description": what, "headers": headers, "content": {"application/json": {"schema": schema}}}
        for status, (what, headers) in known.items()
    }


def _content(route: Route, schemas: dict[type, Schema]) -> Schema:
    if route.answer is web.StreamResponse:
        return {"text/event-stream": {"schema": _event(schemas[Notice])}}
    return {"application/json": {"schema": schemas[route.answer]}}


def _event(notice: Schema) -> Schema:
    """One server-sent event."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": notice}
    return {
        "type": "object",
        "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": data},
        "required": ["id", "event", "data"],
    }


def _path_parameters(route: Route) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": route.parameters[name].json_schema()}
        for name in re.findall(r"{(\w+)}", route.path)
    ]


def _query_parameters(route: Route) -> list[Schema]:
    if route.query is None:
        return []
    properties = route.query.model_json_schema()["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in properties.items()]


def _headers(route: Route) -> list[Schema]:
    if route.answer is not web.StreamResponse:
        return []
    return [{"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "integer", "minimum": 0}}]
