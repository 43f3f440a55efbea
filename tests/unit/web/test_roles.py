"""Who is at the other end of the unix socket: real processes of other users and groups, by the kernel's word."""

import asyncio
import grp
import json
import os
import pwd
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from scheduler.operations.access import Access, Role
from scheduler.web.app import create_app
from scheduler.web.server import serve_api

from .memory import MemoryControl

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other users")

NOBODY, DAEMON = pwd.getpwnam("nobody"), pwd.getpwnam("daemon")
GAMES = grp.getgrnam("games")
ASK = r"""
use IO::Socket::UNIX;
my $connection = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "cannot connect: $!";
print $connection "$ARGV[1] HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n";
$connection->flush;
print while <$connection>;
"""
"""In Perl, which every Debian has where all users may run it; our own Python may lie in root's home."""


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A socket where every user finds it."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory) / "api.sock"


class Door:
    """The API, with `access` as it is at the moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.access = Access()

    async def ask(self, what: str, user: pwd.struct_passwd, groups: tuple[int, ...] = ()) -> tuple[int, str]:
        """Status and error message of a call by a process of that user, with just these groups beside its own."""
        process = await asyncio.create_subprocess_exec(
            "/usr/bin/perl", "-e", ASK, str(self.path), what, user=user.pw_uid, group=user.pw_gid,
            extra_groups=groups, stdout=asyncio.subprocess.PIPE, cwd="/",
        )  # fmt: skip
        answer, _ = await process.communicate()
        head, _, body = answer.decode().partition("\r\n\r\n")
        return int(head.split()[1]), json.loads(body).get("error", {}).get("message", "")


@pytest.fixture
async def door(control: MemoryControl, open_path: Path) -> AsyncIterator[Door]:
    door = Door(open_path)
    async with serve_api(create_app(control, access=lambda: door.access), open_path, mode=0o666):
        yield door


async def test_users_and_groups_have_their_roles(door: Door, control: MemoryControl) -> None:
    door.access = Access(users={"nobody": Role.VIEWER}, groups={"games": Role.OPERATOR})
    assert await door.ask("GET /v1/hosts", NOBODY) == (200, "")
    assert await door.ask("POST /v1/hosts/node1/cordon", NOBODY) == (
        403,
        "nobody may not do this: it needs the role operator",
    )
    assert await door.ask("POST /v1/hosts/node1/cordon", NOBODY, (GAMES.gr_gid,)) == (200, "")
    assert await door.ask("POST /v1/reload", NOBODY, (GAMES.gr_gid,)) == (
        403,
        "nobody may not do this: it needs the role admin",
    )
    assert await door.ask("GET /v1/hosts", DAEMON) == (
        403,
        "daemon has no role here: an administrator gives one in [api.roles]",
    )
    assert [(one.requested_by, one.outcome) for one in control.requested] == [("nobody", "done")]


async def test_the_primary_group_counts(door: Door) -> None:
    door.access = Access(groups={grp.getgrgid(DAEMON.pw_gid).gr_name: Role.VIEWER, "no-such-group": Role.ADMIN})
    assert (await door.ask("GET /v1/hosts", DAEMON))[0] == 200
    assert (await door.ask("GET /v1/hosts", NOBODY))[0] == 403


async def test_root_is_always_an_admin(door: Door) -> None:
    door.access = Access(users={"root": Role.VIEWER})
    assert await door.ask("POST /v1/reload", pwd.getpwuid(0)) == (400, "config.toml: hosts[0].uri: missing")


async def test_without_roles_the_sockets_own_mode_decides(door: Door) -> None:
    assert (await door.ask("POST /v1/hosts/node1/cordon", NOBODY))[0] == 200


async def test_a_change_of_roles_is_heeded_at_once(door: Door) -> None:
    door.access = Access(users={"nobody": Role.VIEWER})
    assert (await door.ask("GET /v1/hosts", NOBODY))[0] == 200
    door.access = Access(users={"daemon": Role.VIEWER})
    assert (await door.ask("GET /v1/hosts", NOBODY))[0] == 403
