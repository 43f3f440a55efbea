"""Who asks: by the kernel's word at the unix socket, by token or certificate over TLS; and what that allows."""

import asyncio
import grp
import os
import pwd
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aiohttp import hdrs, web

from ..operations.access import Access, Role
from .control import ControlError

_SO_PEERGROUPS = 59
"""The other end's supplementary groups when it connected; Python has no name for it."""
_MOST_GROUPS_BYTES = 1024
"""All that Python reads of a socket option."""
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may use the API."""

    name: str
    """A user's name, `token:NAME` or `certificate:NAME`: what the journal has as `requested_by`."""
    role: Role


async def caller_of(request: web.Request, access: Access) -> Caller:
    """Who asks; ControlError `unauthorized` or `forbidden` when it is nobody who may."""
    connection = request.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_UNIX:
        # In a thread: the name service may be a network away.
        return await asyncio.to_thread(_at_socket, connection, access)
    return _over_tls(request, access)


def _at_socket(connection: socket.socket, access: Access) -> Caller:
    _pid, uid, gid = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    user = _user_name(uid)
    if uid in {0, os.getuid()}:
        return Caller(user, Role.ADMIN)
    role = access.role_of_user(user, _named(access.groups, {gid, *_supplementary(connection)}))
    if role is None:
        raise ControlError("forbidden", f"{user} has no role here: an administrator gives one in [api.roles]")
    return Caller(user, role)


def _supplementary(connection: socket.socket) -> Iterable[int]:
    """The caller's other groups; none of them where they are more than can be read."""
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS_BYTES)
    except OSError:
        return ()
    return struct.unpack(f"{len(packed) // 4}I", packed)


def _named(groups: Iterable[str], gids: set[int]) -> list[str]:
    """Those of `groups` whose number is among `gids`."""
    return [name for name in groups if _gid(name) in gids]


def _gid(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


@lru_cache(maxsize=256)
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _over_tls(request: web.Request, access: Access) -> Caller:
    scheme, _, presented = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme:
        token = access.token(presented.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            raise ControlError("unauthorized", "the token is not known here")
        return Caller(f"token:{token.name}", token.role)
    name = _common_name(request.get_extra_info("peercert") or {})
    if name is None:
        raise ControlError("unauthorized", "a bearer token or a client certificate is needed")
    if name not in access.certificates:
        raise ControlError("unauthorized", "the certificate has no role here")
    return Caller(f"certificate:{name}", access.certificates[name])


def _common_name(certificate: Mapping[str, Any]) -> str | None:
    """Of the subject of a certificate that was verified; None when there is not exactly one."""
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else None
