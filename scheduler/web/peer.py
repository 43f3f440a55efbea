"""Who is at the other end of the API socket, and what that allows."""

import asyncio
import pwd
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from aiohttp import web


class Role(IntEnum):
    """What a caller may do; a higher one includes the lower."""

    VIEWER = 1
    """Look at everything."""
    OPERATOR = 2
    """Start, migrate, drain, approve."""
    ADMIN = 3
    """Change the daemon's own configuration."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A caller. `uid` is None where the kernel does not vouch for one (not a unix socket)."""

    user: str
    uid: int | None


RoleOf = Callable[[Peer], Role]


def socket_decides(peer: Peer) -> Role:
    """Who may open the unix socket may do everything: its mode and group are the guard. Others only look."""
    return Role.VIEWER if peer.uid is None else Role.ADMIN


async def peer_of(request: web.Request) -> Peer:
    """The caller, by the credentials that the kernel keeps of a unix socket's other end."""
    connection = request.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return Peer(user="unknown", uid=None)
    credentials = struct.Struct("3i")
    _pid, uid, _gid = credentials.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    # In a thread: the name service may be a network away.
    return Peer(user=await asyncio.to_thread(_user_name, uid), uid=uid)


@lru_cache(maxsize=256)
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
