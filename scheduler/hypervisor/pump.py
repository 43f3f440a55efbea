"""libvirt's own event loop, run by one thread for the whole process.

Not libvirtaio: it touches the asyncio loop from whichever thread makes a libvirt call, which asyncio's debug mode
refuses and which loses events. Here libvirt's loop lives in its own thread, callbacks run there and only hand tuples
over (see `events`).
"""

import threading
import time

from .binding import LibvirtError, libvirt

_lock = threading.Lock()
_users = 0
_thread: threading.Thread | None = None
_stopping = threading.Event()
_registered = False


def acquire() -> None:
    """Have the pump running; must come before any connection is opened. Pair with `release`."""
    global _users, _thread  # noqa: PLW0603 - libvirt has one event loop per process, and so has this module
    with _lock:
        _register_once()
        _users += 1
        if _thread is None:
            _stopping.clear()
            _thread = threading.Thread(target=_pump, name="libvirt-events", daemon=True)
            _thread.start()


def release() -> None:
    """Let the pump go; its thread ends with its last user. Close the connections before."""
    global _users, _thread  # noqa: PLW0603
    with _lock:
        _users -= 1
        if _users or _thread is None:
            return
        _stopping.set()
        # Setting the flag does not wake libvirt's poll; a timer that is due does.
        timer = libvirt.virEventAddTimeout(0, lambda *_: None, None)
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
        try:
            libvirt.virEventRunDefaultImpl()
        except LibvirtError:
            time.sleep(0.1)
