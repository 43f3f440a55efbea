"""What each role may ask of a live daemon, and what no caller gets past its gate, by way of HTTP."""

import json
import re
import socket
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest

from scheduler.operations.access import Role
from scheduler.web.routes import ROUTES

from .api_daemon import Served, served

CHANGING = [route for route in ROUTES if route.role is not Role.VIEWER]
BODIES = {
    "/v1/placements": {"vms": ["off1"]},
    "/v1/migrations": {"vms": ["web1"], "to": "node2"},
}
USUAL = "<name>new</name><memory unit='MiB'>64</memory>"
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
DISK = "<disk type='file'><source file='{}'/><target dev='vda'/></disk>"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as api:
        yield api


class Caller:
    """Somebody with a token."""

    def __init__(self, api: Served, role: Role) -> None:
        self._url = api.url
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=api.authority.trusted()),
            headers={"Authorization": f"Bearer {api.tokens[role]}"},
        )

    async def call(self, method: str, path: str, **options: object) -> tuple[int, dict[str, str], str]:
        """Status, error and the whole of the answer as it came."""
        async with self.session.request(method, self._url + path, **options) as response:  # type: ignore[arg-type]
            text = await response.text()
            shown = f"{dict(response.headers)} {text}"
            return response.status, json.loads(text).get("error", {}), shown

    async def place(self, *definitions: str) -> tuple[int, dict[str, str], str]:
        body = json.dumps({"definitions": definitions, "dry_run": True}).encode()
        return await self.call("POST", "/v1/placements", data=BytesIO(body))


@pytest.fixture
async def viewer(api: Served) -> AsyncIterator[Caller]:
    caller = Caller(api, Role.VIEWER)
    async with caller.session:
        yield caller


@pytest.fixture
async def operator(api: Served) -> AsyncIterator[Caller]:
    caller = Caller(api, Role.OPERATOR)
    async with caller.session:
        yield caller


@pytest.fixture
async def admin(api: Served) -> AsyncIterator[Caller]:
    caller = Caller(api, Role.ADMIN)
    async with caller.session:
        yield caller


def address(path: str) -> str:
    """A path with a host, a migration or a recommendation in it that exists."""
    return path.replace("{name}", "node1").replace("{id}", "1")


def domain(inside: str = "", devices: str = "", attributes: str = "type='kvm'") -> str:
    return f"<domain {attributes}>{USUAL}{inside}<devices>{devices}</devices></domain>"


async def test_every_call_that_changes_something_is_refused_below_its_role(
    api: Served, viewer: Caller, operator: Caller
) -> None:
    assert {route.method for route in CHANGING} == {"POST", "DELETE"}
    for route in CHANGING:
        for caller, name in ((viewer, Role.VIEWER), (operator, Role.OPERATOR)):
            if name.includes(route.role):
                continue
            for body in (BODIES.get(route.path), {"nonsense": 1}):
                status, error, _ = await caller.call(route.method, address(route.path), json=body)
                assert (status, error["code"]) == (403, "forbidden"), route.path
                assert error["message"] == f"token:{name.value} may not do this: it needs the role {route.role.value}"
    assert await api.daemon.service.requests(limit=10) == []
    assert await api.journal.migrations(limit=10) == []
    assert await api.journal.placements(limit=10) == []
    assert await api.journal.host_flags() == []


async def test_every_call_that_only_looks_is_open_to_a_viewer(viewer: Caller) -> None:
    for route in ROUTES:
        if route.role is Role.VIEWER and "{" not in route.path and not route.path.endswith("/events"):
            assert (await viewer.call(route.method, route.path))[0] == 200, route.path


@pytest.mark.parametrize(
    ("definition", "place"),
    [
        (
            domain(f"<q:commandline xmlns:q='{QEMU}'><q:arg value='-s'/></q:commandline>"),
            "commandline: past libvirt's own checks",
        ),
        (domain(devices=DISK.format("/etc/shadow")), "devices/disk/source@file: /etc/shadow of the host"),
        (
            domain(devices=DISK.format("/var/lib/libvirt/images/../../../../etc/shadow")),
            "devices/disk/source@file: /var/lib/libvirt/images/../../../../etc/shadow of the host",
        ),
        (domain(devices="<hostdev mode='subsystem' type='pci'/>"), "devices/hostdev: hostdev reaches into the host"),
        (domain(devices="<filesystem type='mount'/>"), "devices/filesystem: filesystem reaches into the host"),
        (domain("<os><kernel>/root/kernel</kernel></os>"), "os/kernel: /root/kernel of the host"),
        (domain(attributes="type='lxc'"), "@type: lxc"),
    ],
)  # fmt: skip
async def test_what_reaches_into_a_host_needs_an_admin(
    operator: Caller, admin: Caller, api: Served, definition: str, place: str
) -> None:
    status, error, _ = await operator.place(domain(), definition)
    assert (status, error["code"]) == (403, "forbidden")
    assert error["message"].startswith(f"that needs the role admin: definitions[1]: {place}")
    assert (await operator.place(domain()))[0] == 200
    assert (await admin.place(definition))[0] == 200
    asked = await api.daemon.service.requests(limit=10)
    assert [(one.requested_by, one.outcome) for one in reversed(asked)] == [
        ("token:operator", "forbidden"),
        ("token:operator", "done"),
        ("token:admin", "done"),
    ]


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("<!DOCTYPE d [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>" + domain("<title>&a;</title>"), "DOCTYPE"),
        ("<!DOCTYPE d [<!ENTITY a 'aa'>]>" + domain("<title>&a;</title>"), "a DOCTYPE or entities are not allowed"),
        (domain("<title>&undefined;</title>"), "not well-formed XML: undefined entity"),
        (domain("<title>" + "x" * (1 << 20) + "</title>"), "characters, more than 1,048,576"),
        (domain("<os>" + "<a>" * 300 + "</a>" * 300 + "</os>"), "the XML is nested more than 256 deep"),
        ("<?xml version='1.0' encoding='UTF-7'?>" + domain(), "the XML must be UTF-8, not 'UTF-7'"),
        ("<domain", "not well-formed XML"),
        ("<network/>", "the root element is <network>, not <domain>"),
        ("<domain/>", "domain/name is missing or empty"),
    ],
)  # fmt: skip
async def test_xml_that_is_no_honest_definition_is_refused_by_its_place(
    operator: Caller, admin: Caller, definition: str, said: str
) -> None:
    for caller in (operator, admin):
        status, error, shown = await caller.place(domain(), definition)
        assert (status, error["code"]) == (400, "invalid")
        assert error["message"].startswith("definitions[1]: ")
        assert said in error["message"]
        assert "root:" not in shown


async def test_a_wide_definition_takes_no_long_look(operator: Caller) -> None:
    """A look at each of so many elements for each of them would take long."""
    status, error, shown = await operator.place(domain("<a/>" * 50_000))
    assert status == 403
    assert error["message"].endswith(" and 49980 more")
    assert len(shown) < 10_000


async def test_a_body_beyond_the_limit_is_refused_with_the_limit(operator: Caller) -> None:
    for path in ("/v1/placements", "/v1/migrations", "/v1/hosts/node1/drain"):
        status, error, _ = await operator.call("POST", path, data=BytesIO(b" " * ((2 << 20) + 1)))
        assert (status, error["code"]) == (413, "too_large")
        assert error["message"] == "the body is larger than 2 MiB: ask for less at a time"


async def test_errors_tell_nothing_of_the_machine_that_they_come_from(
    api: Served, viewer: Caller, admin: Caller
) -> None:
    answers = [
        await admin.call("GET", "/../../etc/passwd"),
        await admin.call("GET", "/v1/hosts/..%2f..%2fetc%2fpasswd"),
        await admin.call("GET", "/static/"),
        await admin.call("PUT", "/v1/hosts"),
        await admin.call("POST", "/v1/migrations", data=b"{"),
        await admin.call("POST", "/v1/migrations", json={"vms": ["ghost"]}),
        await admin.call("DELETE", "/v1/migrations/7"),
        await admin.place("<domain"),
        await viewer.call("POST", "/v1/reload"),
    ]
    for status, error, shown in answers:
        assert status >= 400
        assert error["message"]
        for secret in (str(api.directory), str(Path.cwd()), socket.gethostname(), "aiohttp", "Traceback", ".py"):
            assert secret not in shown
        assert not re.search(r"Python/|127\.0\.0\.1", shown)
