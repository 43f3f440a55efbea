"""libvirt's errors, told as those of the port."""

from ..cluster.ports import BusyError, HypervisorError, NotFoundError, RefusedError, UnreachableError, UnsafeError
from .binding import Connection, LibvirtError, libvirt

_BROKEN_CODES = {
    libvirt.VIR_ERR_SYSTEM_ERROR,
    libvirt.VIR_ERR_INTERNAL_ERROR,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
}
PEER_DOMAINS = {libvirt.VIR_FROM_REMOTE, libvirt.VIR_FROM_RPC}
"""Parts of libvirt whose errors are about a connection: ours, or that of one host to another."""
_BUSY_CODES = {libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_ERR_RESOURCE_BUSY}


def code_of(error: Exception) -> int:
    """The `VIR_ERR_…` of a LibvirtError; -1 when it carries none."""
    code = error.get_error_code()  # type: ignore[attr-defined]
    return -1 if code is None else int(code)


def domain_of(error: Exception) -> int:
    """The `VIR_FROM_…` of a LibvirtError: which part of libvirt raised it; -1 when it carries none."""
    domain = error.get_error_domain()  # type: ignore[attr-defined]
    return -1 if domain is None else int(domain)


def errno_of(error: Exception) -> int:
    """The `errno` behind a LibvirtError of a system call: its text is in the language of that host's libvirtd."""
    number = error.get_int1()  # type: ignore[attr-defined]
    return -1 if number is None else int(number)


def connection_broken(code: int, domain: int) -> bool:
    """Whether an error of this code and domain speaks of the connection, not of what was asked."""
    return code in _BROKEN_CODES and domain in PEER_DOMAINS


def port_error(host: str, code: int, domain: int, text: str) -> HypervisorError:
    """What the error of this code and domain is called in `cluster.ports`."""
    text = text.strip() or "libvirt gave no reason"
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return NotFoundError(host, text)
    if connection_broken(code, domain):
        return UnreachableError(host, text)
    if code in _BUSY_CODES:
        return BusyError(host, text)
    if code == libvirt.VIR_ERR_MIGRATE_UNSAFE:
        return UnsafeError(host, text)
    return RefusedError(host, text)


def translate(host: str, error: Exception, connection: Connection | None = None) -> HypervisorError:
    """The port's error for a LibvirtError of a call on `connection` (None: of opening it).

    libvirt quirk: what a source's libvirt met on its way to the destination of a migration looks like a broken
    connection of our own; whether ours is alive tells them apart.
    """
    code, domain = code_of(error), domain_of(error)
    if connection is None:
        return UnreachableError(host, str(error))
    if connection_broken(code, domain) and alive(connection):
        return RefusedError(host, str(error))
    return port_error(host, code, domain, str(error))


def alive(connection: Connection) -> bool:
    """Whether the connection still stands."""
    try:
        return bool(connection.isAlive())
    except LibvirtError:
        return False
