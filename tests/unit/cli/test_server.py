"""The command speaks to a daemon on another machine: over TLS, with a token or a client certificate."""

import asyncio
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scheduler.cli.main import main
from scheduler.config import parse
from scheduler.operations.access import Access, Role, Token, hash_of_token
from scheduler.web.app import create_app
from scheduler.web.server import serve_api
from scheduler.web.tls import TlsFiles
from tests.unit.web.pki import Authority

from .memory import MovingControl

ACCESS = Access(
    tokens=(Token(name="ci", role=Role.OPERATOR, hash=hash_of_token("ci-secret")),), certificates={"desk": Role.VIEWER}
)


def call(*args: str | Path, **env: str) -> Result:
    runner = CliRunner(env={"COLUMNS": "200", "VIRT_SCHEDULER_CONFIG": "", **env})
    return runner.invoke(main, list(map(str, args)), prog_name="virt-scheduler")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def server(authority: Authority, tmp_path: Path) -> Iterator[str]:
    """The URL of a daemon in a thread of its own."""
    certificate, key = authority.server()
    files = TlsFiles(host="127.0.0.1", port=0, certificate=certificate, key=key, client_ca=authority.ca)
    loop, ready, urls, stop = asyncio.new_event_loop(), threading.Event(), list[str](), asyncio.Event()

    async def serve() -> None:
        app = create_app(MovingControl(), access=lambda: ACCESS, heartbeat_seconds=0.05)
        async with serve_api(app, tmp_path / "api.sock", tls=files) as address:
            assert address is not None
            urls.append(f"https://{address[0]}:{address[1]}")
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield urls[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("ci-secret\n")
    return path


def test_commands_work_with_a_token(server: str, authority: Authority, token_file: Path) -> None:
    where = ("--server", server, "--token-file", token_file, "--ca", authority.ca)
    assert "node1" in call(*where, "hosts").stdout
    moved = call(*where, "migrate", "web1", "--to", "node2")
    assert (moved.exit_code, "completed" in moved.stdout) == (0, True)
    assert "what the daemon" not in call(*where, "events").stderr
    shown = call(*where, "requests").stdout
    assert "token:ci" in shown
    assert "POST /v1/migrations" in shown


def test_the_environment_names_the_server(server: str, authority: Authority, token_file: Path) -> None:
    env = {
        "VIRT_SCHEDULER_SERVER": server,
        "VIRT_SCHEDULER_TOKEN_FILE": str(token_file),
        "VIRT_SCHEDULER_CA": str(authority.ca),
    }
    assert call("status", **env).exit_code == 0


def test_commands_work_with_a_client_certificate(server: str, authority: Authority, tmp_path: Path) -> None:
    both = tmp_path / "desk.pem"
    both.write_text("".join(path.read_text() for path in authority.client("desk")))
    where = ("--server", server, "--certificate", both, "--ca", authority.ca)
    assert call(*where, "hosts").exit_code == 0
    refused = call(*where, "cordon", "node1")
    assert (refused.exit_code, refused.stderr) == (
        2,
        "virt-scheduler: certificate:desk may not do this: it needs the role operator\n",
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--server", "http://127.0.0.1:1", "hosts"], "'http://127.0.0.1:1' is no address of a daemon"),
        (["--server", "https://node1", "hosts"], "write https://HOST:PORT"),
        (["--server", "https://node1:port", "hosts"], "write https://HOST:PORT"),
        (["--server", "https://127.0.0.1:1", "hosts"], "no daemon at https://127.0.0.1:1: Connect"),
        (["--server", "https://127.0.0.1:1", "--token-file", "/nowhere", "hosts"], "cannot read the token in /nowhere"),
        (["--server", "https://127.0.0.1:1", "--token-file", "/dev/null", "hosts"], "/dev/null holds no token"),
        (["--server", "https://127.0.0.1:1", "--ca", "/nowhere", "hosts"], "cannot use the certificate in /nowhere"),
    ],
)
def test_what_is_wrong_is_told(arguments: list[str], told: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_daemon_that_is_not_trusted_gets_no_token(server: str, token_file: Path) -> None:
    result = call("--server", server, "--token-file", token_file, "hosts")
    assert result.exit_code == 2
    assert "is not trusted" in result.stderr
    assert result.stderr.endswith("name its CA with --ca\n")


def test_a_token_is_made_for_a_file_and_its_hash_for_the_config(tmp_path: Path) -> None:
    path = tmp_path / "token"
    made = call("token", 'C"I', "--role", "operator", "--file", path)
    token = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token not in made.stdout
    found = parse(made.stdout, "c.toml").api.to_access().token(token)
    assert found is not None
    assert (found.name, found.role) == ('C"I', Role.OPERATOR)
    again = call("token", "ci", "--role", "operator", "--file", path)
    assert (again.exit_code, path.read_text().strip()) == (2, token)
