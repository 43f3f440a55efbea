"""libvirt's own event loop, run by one thread for the whole process, and the connections that live on it.

Not libvirtaio: it touches the asyncio loop from whichever thread makes a libvirt call, which asyncio's debug mode
refuses and which loses events. Here libvirt's loop lives in its own thread, callbacks run there and only hand tuples
over (see `events`). The thread runs while there is a connection.
"""

import threading
import time
from contextlib import suppress

from .binding import Connection, LibvirtError, libvirt, open_uri

KEEPALIVE_INTERVAL_S = 3
KEEPALIVE_COUNT = 3
"""A peer that is silent for (count + 1) intervals, 12 s, is gone."""

_lock = threading.Lock()
_users = 0
_thread: threading.Thread | None = None
_stopping = threading.Event()
_registered = False


def open_connection(uri: str) -> Connection:
    """Open `uri`, with keepalive; blocks, without any limit while the other side is frozen. Raises LibvirtError."""
    _acquire()
    try:
        connection = open_uri(uri)
    except LibvirtError:
        _release()
        raise
    with suppress(LibvirtError):  # a driver in our own process has no peer that could fall silent
        connection.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)
    return connection


def close_connection(connection: Connection) -> None:
    """Close for good. No call may be using the connection: it would be freed under it, and the process die of that."""
    with suppress(LibvirtError):
        connection.close()
    _release()


def _acquire() -> None:
    global _users, _thread  # noqa: PLW0603 - libvirt has one event loop per process, and so has this module
    with _lock:
        _register_once()
        _users += 1
        if _thread is None:
            _stopping.clear()
            _thread = threading.Thread(target=_pump, name="libvirt-events", daemon=True)
            _thread.start()


def _release() -> None:
    global _users, _thread  # noqa: PLW0603
    with _lock:
        _users -= 1
        if _users or _thread is None:
            return
        # Setting the flag does not wake libvirt's poll; a timer that is always due does.
        timer = libvirt.virEventAddTimeout(0, lambda *_: None, None)
        _stopping.set()
        _thread.join(timeout=5)
        libvirt.virEventRemoveTimeout(timer)
        _thread = None


def _register_once() -> None:
    global _registered  # noqa: PLW0603
    if not _registered:
        libvirt.virEventRegisterDefaultImpl()
        # Without a handler libvirt prints every error to stderr; they all come back as exceptions anyway.
        libvirt.registerErrorHandler(lambda *_: None, None)
        _registered = True


def _pump() -> None:
    while not _stopping.is_set():
        _run_once()
    # libvirt frees what a connection just closed has left, its socket among it, on its next round.
    _run_once()


def _run_once() -> None:
    try:
        libvirt.virEventRunDefaultImpl()
    except LibvirtError:
        time.sleep(0.1)
