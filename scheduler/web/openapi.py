"""The OpenAPI document: made from the routes' own signatures, so it cannot fall behind them."""

import re
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter

from .. import __version__
from ..cluster import refusing  # noqa: F401 - makes the kinds of a snapshot strict, which their schemas show
from .models import FailureAnswer
from .routing import Route

_REF = "#/components/schemas/{model}"
Schema = dict[str, Any]


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
            "description": "Places, live-migrates and rebalances VMs across libvirt hosts, and says why.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _schemas(routes: tuple[Route, ...]) -> tuple[dict[type, Schema], Schema]:
    """A schema for each type that is read or answered, and the components that they share."""
    read = {route.body for route in routes if route.body is not None}
    answered = {FailureAnswer} | {route.answer for route in routes if route.answer is not web.StreamResponse}
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
            "default": {
                "description": "Not done, and why",
                "content": {"application/json": {"schema": schemas[FailureAnswer]}},
            },
        },
    }
    if route.body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": schemas[route.body]}}}
    return operation


def _content(route: Route, schemas: dict[type, Schema]) -> Schema:
    if route.answer is web.StreamResponse:
        return {"text/event-stream": {"schema": {"type": "string"}}}
    return {"application/json": {"schema": schemas[route.answer]}}


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
