import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from scheduler.web.app import create_app
from scheduler.web.openapi import document
from scheduler.web.routes import ROUTES

from .memory import Client, MemoryControl

DOCUMENT = document(ROUTES)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation of all that the document describes."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that is meant, through a reference."""
    if "$ref" not in schema:
        return schema
    target = DOCUMENT
    for part in schema["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return target


def mistakes(value: object, schema: dict[str, Any], where: str = "$") -> list[str]:
    """Where an answer has a field that the schema does not know, lacks one, or has another type."""
    schema = resolve(schema)
    if "anyOf" in schema:
        found = [mistakes(value, option, where) for option in schema["anyOf"]]
        return min(found, key=len)
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
    if schema.get("type") == "null":
        return [] if value is None else [f"{where} is not null"]
    if "type" in schema and not isinstance(value, types[schema["type"]]):
        return [f"{where} is no {schema['type']}"]
    if isinstance(value, list):
        items = schema.get("items", {})
        return [text for index, item in enumerate(value) for text in mistakes(item, items, f"{where}[{index}]")]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    found = [f"{where} lacks {name}" for name in schema.get("required", ()) if name not in value]
    for name, item in value.items():
        if name in schema["properties"]:
            found += mistakes(item, schema["properties"][name], f"{where}.{name}")
        else:
            found.append(f"{where}.{name} is unknown")
    return found


def test_every_route_is_described_and_nothing_else(control: MemoryControl) -> None:
    served = {(route.method, route.resource.canonical) for route in create_app(control).router.routes()}  # type: ignore[union-attr]
    assert {(method, path) for method, path, _ in operations()} == served


def test_operations_are_whole() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names)) == len(ROUTES)
    for _, path, operation in operations():
        assert operation["summary"].endswith(".")
        assert operation["x-role"] in {"viewer", "operator", "admin"}
        assert {p["name"] for p in operation["parameters"] if p["in"] == "path"} == set(re.findall(r"{(\w+)}", path))
        assert "default" in operation["responses"]
        assert any(status.startswith("2") for status in operation["responses"])
        assert {"401", "403", "429"} <= operation["responses"].keys()
        assert ("requestBody" in operation) == ("413" in operation["responses"])


def test_a_body_is_required_where_it_cannot_be_left_out() -> None:
    required = {path: op["requestBody"]["required"] for _, path, op in operations() if "requestBody" in op}
    assert required == {"/v1/hosts/{name}/drain": False, "/v1/placements": True, "/v1/migrations": True}


def test_who_may_ask_is_described() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {name: scheme["type"] for name, scheme in schemes.items()} == {"token": "http", "certificate": "mutualTLS"}
    assert DOCUMENT["security"] == [{"token": []}, {"certificate": []}]
    assert "SO_PEERCRED" in DOCUMENT["info"]["description"]


def test_every_reference_leads_somewhere() -> None:
    references = set(re.findall(r'"\$ref": "(#/[^"]+)"', json.dumps(DOCUMENT)))
    assert len(references) > 30
    assert all(resolve({"$ref": reference}) for reference in references)


def test_only_looking_needs_no_operator() -> None:
    for method, path, operation in operations():
        assert (operation["x-role"] == "viewer") == (method == "GET"), path


async def test_document_is_served(client: Client) -> None:
    status, body = await client.call("GET", "/v1/openapi.json")
    assert status == 200
    assert body == json.loads(json.dumps(DOCUMENT))
    assert body["openapi"] == "3.1.0"


@pytest.mark.parametrize(
    ("method", "path", "address", "body"),
    [
        *((method, path, path, None) for method, path, op in operations() if method == "GET" and not op["parameters"]),
        ("GET", "/v1/vms", "/v1/vms", None),
        ("GET", "/v1/hosts/{name}", "/v1/hosts/node1", None),
        ("GET", "/v1/vms/{vm}/explain", "/v1/vms/web1/explain", None),
        ("GET", "/v1/migrations", "/v1/migrations", None),
        ("GET", "/v1/placements", "/v1/placements", None),
        ("GET", "/v1/decisions", "/v1/decisions", None),
        ("POST", "/v1/hosts/{name}/drain", "/v1/hosts/node1/drain", {}),
        ("POST", "/v1/placements", "/v1/placements", {"vms": ["web1"]}),
        ("POST", "/v1/migrations", "/v1/migrations", {"vms": ["web1"]}),
        ("POST", "/v1/recommendations/{id}/dismiss", "/v1/recommendations/1/dismiss", None),
    ],
)
async def test_answer_is_as_described(
    client: Client, method: str, path: str, address: str, body: dict[str, object] | None
) -> None:
    status, answer = await client.call(method, address, json=body)
    described = DOCUMENT["paths"][path][method.lower()]["responses"][str(status)]["content"]["application/json"]
    assert mistakes(answer, described["schema"]) == []


async def test_failure_is_as_described(client: Client) -> None:
    _, answer = await client.call("POST", "/v1/hosts/node2/drain")
    schema = DOCUMENT["paths"]["/v1/status"]["get"]["responses"]["default"]["content"]["application/json"]["schema"]
    assert mistakes(answer, schema) == []
    assert mistakes({"error": {"code": 1}}, schema) == ["$.error lacks message", "$.error.code is no string"]
