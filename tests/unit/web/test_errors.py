from io import BytesIO

import pytest
from structlog.testing import capture_logs

from .memory import SHORT, Client, MemoryControl


async def test_refusal_carries_its_reasons(client: Client) -> None:
    status, body = await client.call("POST", "/v1/hosts/node2/drain")
    assert status == 409
    assert body == {"error": {"code": "refused", "message": "web1 can go nowhere", "reasons": [SHORT.as_dict()]}}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/hosts/node9", 404, "not_found"),
        ("GET", "/v1/vms/nobody/explain", 404, "not_found"),
        ("GET", "/v1/migrations/99", 404, "not_found"),
        ("DELETE", "/v1/migrations/1", 409, "conflict"),
        ("POST", "/v1/recommendations/9/approve", 404, "not_found"),
        ("POST", "/v1/reload", 400, "invalid"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("PUT", "/v1/hosts", 405, "method_not_allowed"),
    ],
)
async def test_what_cannot_be_done_has_a_status_and_a_code(
    client: Client, method: str, path: str, status: int, code: str
) -> None:
    assert (await client.refused(method, path))[:2] == (status, code)


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/v1/migrations", "{", "body: Invalid JSON"),
        ("/v1/migrations", "", "vms: Field required"),
        ("/v1/migrations", '{"vms": []}', "vms: List should have at least 1 item"),
        ("/v1/migrations", '{"vms": "web1"}', "vms: Input should be a valid array"),
        ("/v1/migrations", '{"vms": ["web1", 7]}', "vms.1: Input should be a valid string"),
        ("/v1/migrations", '{"vms": ["web1"], "host": "node1"}', "host: Extra inputs are not permitted"),
        ("/v1/migrations", '{"vms": ["web1"], "dry_run": "no"}', "dry_run: Input should be a valid boolean"),
        ("/v1/placements", "{}", "body: give either definitions or vms"),
        ("/v1/placements", '{"vms": ["a"], "definitions": ["b"]}', "body: give either definitions or vms"),
        ("/v1/hosts/node1/drain", "[]", "body: Input should be an object"),
    ],
)
async def test_mistake_in_a_body_is_named(client: Client, path: str, body: str, named: str) -> None:
    status, code, message = await client.refused("POST", path, data=body)
    assert (status, code) == (400, "invalid")
    assert message.startswith(named)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/v1/migrations?limit=0", "limit: Input should be greater than or equal to 1"),
        ("/v1/migrations?limit=many", "limit: Input should be a valid integer"),
        ("/v1/vms?nam=web", "nam: Extra inputs are not permitted"),
        ("/v1/migrations/first", "id: Input should be a valid integer"),
        ("/v1/migrations/99999999999999999999", "id: Input should be less than or equal to"),
    ],
)
async def test_mistake_in_the_address_is_named(client: Client, path: str, named: str) -> None:
    status, code, message = await client.refused("GET", path)
    assert (status, code) == (400, "invalid")
    assert message.startswith(named)


async def test_all_mistakes_are_reported_at_once(client: Client) -> None:
    _, body = await client.call("POST", "/v1/migrations", json={"vms": [], "hots": "node1"})
    error = body["error"]
    assert isinstance(error, dict)
    assert [reason["code"] for reason in error["reasons"]] == ["invalid_field", "invalid_field"]


async def test_body_larger_than_the_limit_is_refused(client: Client) -> None:
    body = BytesIO(b'{"definitions": ["' + b"x" * (2 << 20) + b'"]}')
    status, code, message = await client.refused("POST", "/v1/placements", data=body)
    assert (status, code) == (413, "too_large")
    assert message == "the body is larger than 2 MiB: ask for less at a time"


async def test_crash_is_logged_and_shows_nothing(client: Client, control: MemoryControl) -> None:
    control.broken = RuntimeError("password is hunter2")
    with capture_logs() as logs:
        status, code, message = await client.refused("GET", "/v1/hosts")
    assert (status, code, message) == (500, "unexpected", "internal error; the daemon's log has the details")
    assert [(entry["event"], entry["path"], entry["log_level"]) for entry in logs] == [
        ("api_request_crashed", "/v1/hosts", "error")
    ]


async def test_what_changes_something_is_logged_with_who_asked(client: Client) -> None:
    with capture_logs() as logs:
        await client.call("GET", "/v1/hosts")
        await client.call("POST", "/v1/hosts/node1/cordon")
    assert [(entry["event"], entry["method"], entry["path"]) for entry in logs] == [
        ("api_request", "POST", "/v1/hosts/node1/cordon")
    ]
    assert logs[0]["user"]


async def test_what_changes_something_is_journalled_without_secrets(client: Client, control: MemoryControl) -> None:
    await client.call("POST", "/v1/placements", json={"definitions": ["<domain passwd='hunter2'/>"], "host": "node1"})
    await client.call("POST", "/v1/hosts/node2/drain")
    await client.call("POST", "/v1/migrations", json={"vms": []})
    await client.call("GET", "/v1/hosts")
    assert [(one.path, one.asked, one.outcome) for one in control.requested] == [
        ("/v1/placements", {"definitions": 1, "host": "node1"}, "done"),
        ("/v1/hosts/node2/drain", {}, "refused"),
    ]
    _, body = await client.call("GET", "/v1/requests")
    assert [one["outcome"] for one in body["requests"]] == ["refused", "done"]  # type: ignore[index,union-attr]
