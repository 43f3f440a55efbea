"""Calls that change something, each over a connection and a thread of its own.

They may take as long as a migration does, or wait for a busy domain; so they neither use up the requests that libvirtd
serves the observing connection at a time, nor are they given a limit. Keepalive ends them when the host is gone.
Whoever waits may stop waiting: the call goes on.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from ..cluster.ports import HostAddress
from .binding import Connection, LibvirtError
from .errors import translate
from .pump import close_connection, open_connection
from .session import run_translated
from .workers import Workers

Result = TypeVar("Result")


async def act(address: HostAddress, call: Callable[[Connection], Result]) -> Result:
    """Run `call` with a fresh connection to the host. Raises the port's errors."""
    workers = Workers(f"libvirt-act-{address.name}", 1)
    answer = asyncio.wrap_future(workers.submit(lambda: _run(address, call)))
    workers.stop()
    return await answer


def _run(address: HostAddress, call: Callable[[Connection], Result]) -> Result:
    connection = _open(address)
    try:
        return run_translated(address.name, connection, call)
    finally:
        close_connection(connection)


def _open(address: HostAddress) -> Connection:
    try:
        return open_connection(address.uri)
    except LibvirtError as error:
        failure = translate(address.name, error)
    raise failure
