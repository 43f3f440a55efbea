"""Calls that change something, each over a connection and a thread of its own.

They may take as long as a migration does, or wait for a busy domain; so they neither use up the requests that libvirtd
serves the observing connection at a time, nor are they given a limit. Keepalive ends them when the host is gone.
Whoever waits may stop waiting: the call goes on.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from ..cluster.ports import HostAddress
from .binding import Connection
from .worker import Line

Result = TypeVar("Result")


async def act(address: HostAddress, call: Callable[[Connection], Result]) -> Result:
    """Run `call` with a fresh connection to the host. Raises the port's errors."""
    line = Line(f"libvirt-act-{address.name}", address.name, address.uri)
    answer = asyncio.wrap_future(line.call(call))
    line.close()
    return await answer
