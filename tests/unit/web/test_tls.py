"""The API for other machines: real TLS, real tokens, real client certificates."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from scheduler.operations.access import Access, Role, Token, hash_of_token
from scheduler.web.app import create_app
from scheduler.web.server import ListenError, serve_api
from scheduler.web.tls import TlsFiles

from .memory import MemoryControl
from .pki import Authority

ACCESS = Access(
    tokens=(
        Token(name="look", role=Role.VIEWER, hash=hash_of_token("look-secret")),
        Token(name="ops", role=Role.OPERATOR, hash=hash_of_token("ops-secret")),
    ),
    certificates={"build1": Role.OPERATOR},
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@asynccontextmanager
async def serving(
    control: MemoryControl, socket_path: Path, authority: Authority, *, client_ca: bool = True
) -> AsyncIterator[str]:
    certificate, key = authority.server()
    files = TlsFiles(
        host="127.0.0.1", port=0, certificate=certificate, key=key, client_ca=authority.ca if client_ca else None
    )
    async with serve_api(create_app(control, access=lambda: ACCESS), socket_path, tls=files) as address:
        assert address is not None
        yield f"https://{address[0]}:{address[1]}"


@pytest.fixture
async def server(control: MemoryControl, socket_path: Path, authority: Authority) -> AsyncIterator[str]:
    async with serving(control, socket_path, authority) as url:
        yield url


async def call(
    url: str, context: ssl.SSLContext, *, method: str = "GET", authorization: str = ""
) -> tuple[int, dict[str, object], dict[str, str]]:
    headers = {"Authorization": authorization} if authorization else {}
    connector = aiohttp.TCPConnector(ssl=context)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, url, headers=headers) as response,
    ):
        return response.status, await response.json(), dict(response.headers)


async def test_a_token_has_its_role_and_its_name_stands_in_the_journal(
    server: str, authority: Authority, control: MemoryControl
) -> None:
    trust, cordon = authority.trusted(), f"{server}/v1/hosts/node1/cordon"
    assert (await call(f"{server}/v1/hosts", trust, authorization="Bearer look-secret"))[0] == 200
    status, body, _ = await call(cordon, trust, method="POST", authorization="Bearer look-secret")
    assert (status, body["error"]) == (
        403,
        {"code": "forbidden", "message": "token:look may not do this: it needs the role operator", "reasons": []},
    )
    assert (await call(cordon, trust, method="POST", authorization="bearer ops-secret"))[0] == 200
    assert [(one.requested_by, one.role, one.path, one.outcome) for one in control.requested] == [
        ("token:ops", "operator", "/v1/hosts/node1/cordon", "done")
    ]


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("", "a bearer token or a client certificate is needed"),
        ("Bearer", "the token is not known here"),
        ("Bearer wrong", "the token is not known here"),
        (f"Bearer {hash_of_token('ops-secret')}", "the token is not known here"),
        ("Basic b3BzOm9wcy1zZWNyZXQ=", "the token is not known here"),
    ],
)
async def test_nobody_else_is_let_in(server: str, authority: Authority, authorization: str, message: str) -> None:
    for path in ("/v1/hosts", "/healthz", "/v1/openapi.json", "/nothing"):
        status, body, headers = await call(server + path, authority.trusted(), authorization=authorization)
        assert (status, body["error"]["message"]) == (401, message)  # type: ignore[index]
        assert headers["WWW-Authenticate"] == "Bearer"
        assert headers["Server"] == "virt-scheduler"


async def test_a_client_certificate_has_its_role(server: str, authority: Authority, control: MemoryControl) -> None:
    trust = authority.trusted(authority.client("build1"))
    assert (await call(f"{server}/v1/hosts/node1/cordon", trust, method="POST"))[0] == 200
    assert control.requested[0].requested_by == "certificate:build1"
    status, body, _ = await call(f"{server}/v1/hosts", authority.trusted(authority.client("stranger")))
    assert (status, body["error"]["message"]) == (401, "the certificate has no role here")  # type: ignore[index]


async def test_certificates_of_another_authority_are_not_even_heard(
    server: str, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other", "other CA")
    trust = authority.trusted()
    trust.load_cert_chain(*other.client("build1"))
    with pytest.raises(aiohttp.ClientError):
        await call(f"{server}/v1/hosts", trust, authorization="Bearer ops-secret")
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await call(f"{server}/v1/hosts", other.trusted(), authorization="Bearer ops-secret")


async def test_without_a_client_ca_a_certificate_opens_nothing(
    control: MemoryControl, socket_path: Path, authority: Authority
) -> None:
    async with serving(control, socket_path, authority, client_ca=False) as server:
        trust = authority.trusted(authority.client("build1"))
        assert (await call(f"{server}/v1/hosts", trust))[0] == 401


async def test_nothing_is_said_in_the_clear_nor_by_old_tls(server: str, authority: Authority) -> None:
    with pytest.raises(aiohttp.ClientError):
        await call(server.replace("https", "http") + "/healthz", authority.trusted())
    old = authority.trusted()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(aiohttp.ClientError):
        await call(f"{server}/healthz", old, authorization="Bearer ops-secret")


async def test_who_tries_tokens_has_to_wait(server: str, authority: Authority) -> None:
    with capture_logs() as logs:
        for _ in range(10):
            assert (await call(f"{server}/v1/hosts", authority.trusted(), authorization="Bearer guess"))[0] == 401
        status, body, headers = await call(f"{server}/v1/hosts", authority.trusted(), authorization="Bearer ops-secret")
    assert status == 429
    assert body["error"]["message"].startswith(  # type: ignore[index]
        "too many calls without a valid token or certificate: try again in"
    )
    assert int(headers["Retry-After"]) >= 1
    refused = [entry for entry in logs if entry["event"] == "api_caller_refused"]
    assert len(refused) == 10
    assert "guess" not in str(refused)


async def test_a_renewed_certificate_is_taken_in_by_itself(
    control: MemoryControl, socket_path: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "pki")

    async def serial(server: str) -> object:
        host, port = server.removeprefix("https://").split(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=authority.trusted())
        certificate = writer.get_extra_info("peercert")
        writer.close()
        await writer.wait_closed()
        return certificate["serialNumber"]

    async with serving(control, socket_path, authority) as server:
        first = await serial(server)
        certificate, key = authority.server()
        os.utime(key, ns=(1, 1))
        second = await serial(server)
        certificate.write_text("no certificate")
        with capture_logs() as logs:
            third = await serial(server)
    assert first != second == third
    assert [entry["event"] for entry in logs] == ["api_certificate_unusable"]


async def test_a_certificate_that_cannot_be_used_is_named(control: MemoryControl, socket_path: Path) -> None:
    files = TlsFiles(host="127.0.0.1", port=0, certificate=Path("/nowhere.pem"), key=Path("/nowhere.key"))
    with pytest.raises(ListenError, match=r"over TLS with /nowhere\.pem, /nowhere\.key: No such file or directory"):
        async with serve_api(create_app(control), socket_path, tls=files):
            pass
    assert not socket_path.exists()
