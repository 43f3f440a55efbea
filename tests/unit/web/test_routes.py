import os
import pwd
from dataclasses import fields

import pytest

from scheduler.cluster.codec import load_snapshot
from scheduler.operations.records import MigrationRecord

from .memory import Client, MemoryControl

USER = pwd.getpwuid(os.geteuid()).pw_name


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/v1/hosts", "hosts"),
        ("/v1/vms", "vms"),
        ("/v1/placements", "placements"),
        ("/v1/migrations", "migrations"),
        ("/v1/recommendations", "recommendations"),
        ("/v1/decisions", "decisions"),
    ],
)
async def test_lists_are_objects_of_one_key(client: Client, path: str, key: str) -> None:
    status, body = await client.call("GET", path)
    assert status == 200
    assert list(body) == [key]
    assert body[key]


async def test_status_tells_the_last_cycles_sentence(client: Client) -> None:
    status, body = await client.call("GET", "/v1/status")
    assert (status, body["sentence"], body["mode"]) == (200, "all VMs run unhindered", "auto")


async def test_one_host(client: Client) -> None:
    status, body = await client.call("GET", "/v1/hosts/node2")
    assert (status, body["state"], body["cpus"]) == (200, "maintenance", None)


@pytest.mark.parametrize(("action", "state"), [("cordon", "maintenance"), ("uncordon", "up")])
async def test_cordon_and_uncordon_answer_the_host(client: Client, action: str, state: str) -> None:
    status, body = await client.call("POST", f"/v1/hosts/node1/{action}")
    assert (status, body["name"], body["state"]) == (200, "node1", state)


@pytest.mark.parametrize(("options", "dry_run"), [({}, False), ({"json": {"dry_run": True}}, True)])
async def test_drain_needs_no_body(
    client: Client, control: MemoryControl, options: dict[str, object], dry_run: bool
) -> None:
    status, body = await client.call("POST", "/v1/hosts/node1/drain", **options)
    assert (status, body) == (200, {"plan": {"objective": "contention", "steps": []}})
    assert control.asked == [("drain", "node1", dry_run, USER)]


@pytest.mark.parametrize(
    ("selector", "names"),
    [("web*", ["web1", "web2"]), ("u-3", ["db1"]), ("tag:tier=data", ["db1"]), ("nothing", [])],
)
async def test_vms_are_selected_by_glob_uuid_or_tag(client: Client, selector: str, names: list[str]) -> None:
    _, body = await client.call("GET", "/v1/vms", params={"name": selector})
    vms = body["vms"]
    assert isinstance(vms, list)
    assert [vm["name"] for vm in vms] == names


async def test_explain_says_where_the_vm_is_and_why_not_elsewhere(client: Client) -> None:
    _, body = await client.call("GET", "/v1/vms/u-1/explain")
    assert body == {
        "vm": "web1",
        "host": "node1",
        "verdicts": [
            {"host": "node1", "allowed": True, "score": 0.4, "reasons": [], "changes": [], "forecast": None},
            {
                "host": "node2",
                "allowed": False,
                "score": None,
                "reasons": [{"code": "memory_short", "text": "needs 8,192 MiB, 2,048 MiB short"}],
                "changes": [],
                "forecast": None,
            },
        ],
        "hold": None,
        "not_to": {},
        "quarantine": None,
        "cautions": [],
    }


async def test_explain_one_host(client: Client) -> None:
    _, body = await client.call("GET", "/v1/vms/web1/explain?host=node2")
    verdicts = body["verdicts"]
    assert isinstance(verdicts, list)
    assert [verdict["host"] for verdict in verdicts] == ["node2"]


async def test_explain_of_several_vms_names_no_host(client: Client) -> None:
    _, body = await client.call("GET", "/v1/vms/web*/explain")
    assert (body["vm"], body["host"]) == ("web*", None)


async def test_placement_of_definitions_and_of_defined_vms(client: Client, control: MemoryControl) -> None:
    status, body = await client.call("POST", "/v1/placements", json={"definitions": ["<domain/>"], "host": "node1"})
    placements = body["placements"]
    assert isinstance(placements, list)
    assert status == 200
    assert placements[0]["outcome"] == "started"
    assert placements[0]["attempts"] == [{"host": "node1", "error": ""}]
    await client.call("POST", "/v1/placements", json={"vms": ["web*", "db1"], "dry_run": True})
    assert control.asked == [
        ("place", ("<domain/>",), "node1", False, USER),
        ("start", ("web*", "db1"), None, True, USER),
    ]


async def test_migration_is_accepted_for_the_caller(client: Client, control: MemoryControl) -> None:
    status, body = await client.call("POST", "/v1/migrations", json={"vms": ["web1"], "to": "node2"})
    migrations = body["migrations"]
    assert isinstance(migrations, list)
    assert status == 202
    assert list(migrations[0]) == [field.name for field in fields(MigrationRecord)]
    assert (migrations[0]["state"], migrations[0]["trigger"]) == ("queued", "balance")
    assert control.asked == [("migrate", ("web1",), "node2", False, USER)]


async def test_migrations_are_limited(client: Client) -> None:
    _, body = await client.call("GET", "/v1/migrations?limit=1")
    migrations = body["migrations"]
    assert isinstance(migrations, list)
    assert [migration["id"] for migration in migrations] == [2]


async def test_one_migration_and_its_abort(client: Client) -> None:
    _, body = await client.call("GET", "/v1/migrations/1")
    assert (body["id"], body["downtime_ms"]) == (1, 120)
    status, body = await client.call("DELETE", "/v1/migrations/2")
    assert (status, body["state"]) == (200, "aborted")


async def test_recommendations_are_approved_by_the_caller_or_dismissed(client: Client) -> None:
    _, migration = await client.call("POST", "/v1/recommendations/1/approve")
    assert (migration["trigger"], migration["requested_by"]) == ("recommendation", USER)
    _, recommendation = await client.call("POST", "/v1/recommendations/1/dismiss")
    assert recommendation["state"] == "dismissed"


async def test_snapshot_is_what_the_offline_commands_read(client: Client, control: MemoryControl) -> None:
    async with client.session.get("/v1/snapshot") as response:
        assert response.content_type == "application/json"
        assert load_snapshot(await response.text(), "the API") == control.cluster


async def test_readiness_has_a_reason(client: Client, control: MemoryControl) -> None:
    assert await client.call("GET", "/readyz") == (200, {"status": "ready"})
    control.ready = False
    assert await client.refused("GET", "/readyz") == (503, "unavailable", "not ready: 1 of 2 hosts is connected")
    assert await client.call("GET", "/healthz") == (200, {"status": "ok"})
