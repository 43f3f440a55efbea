"""Going from one host's libvirt to another's without moving anything.

A migration is asked for whose destination XML is that of another domain. libvirt first has the source connect to the
destination, with the source's credentials, and check what itself holds against the migration (devices, unsafe disk
caches); then it compares the XML and refuses. The guest is not touched, no event is sent, and the destination is not
told of the domain. Seen with libvirt 9.0: 10 ms.

The same way shows whether memory could be sent: the source's libvirt is let connect to the port where the destination's
QEMU will take it in. Between migrations nothing listens there, so "refused" is the good answer: packets get there.
"""

import errno
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from ..cluster.ports import HostAddress, MemoryPortError, PeerError
from .binding import Connection, LibvirtError, Parameters, libvirt
from .errors import PEER_DOMAINS, alive, domain_of, errno_of
from .xml_text import parse

_STRANGER = "6a1f9f3c-5d0e-4c55-9a0e-7e1f2d3c4b5a"
"""The UUID of no domain."""


_UNREACHED = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EACCES, errno.EPERM}
"""What a firewall or a missing route answers; a REJECT with a TCP reset cannot be told from a port that is free."""


def probe(
    connection: Connection, host: str, uuid: str, destination: HostAddress, copied_disks: Sequence[str] = ()
) -> None:
    """Go as far towards a migration of the domain as can be gone without harm.

    Raises PeerError when the destination's libvirt cannot be reached or lets nobody in, LibvirtError for all else.
    """
    error = _ask(connection, uuid, destination.peer_uri, copied_disks)
    if error is None or _STRANGER in str(error):
        return
    if domain_of(error) in PEER_DOMAINS and alive(connection):
        raise PeerError(host, str(error))
    raise error


def knock(connection: Connection, host: str, uuid: str, destination: HostAddress) -> None:
    """Have the host send packets to the destination's port for memory. Raises MemoryPortError, LibvirtError.

    Not to be asked while a migration comes in there: QEMU would take the knock for it.
    """
    error = _ask(connection, uuid, f"qemu+tcp://{memory_port(destination)}/system")
    if error is None or (domain_of(error) in PEER_DOMAINS and alive(connection) and errno_of(error) not in _UNREACHED):
        return
    if domain_of(error) in PEER_DOMAINS and alive(connection):
        raise MemoryPortError(host, str(error))
    raise error


def memory_port(destination: HostAddress) -> str:
    """Where its QEMU takes in memory, `10.0.0.1:49152`."""
    address = destination.migration_address or ""
    return f"[{address}]:{destination.migration_port}" if ":" in address else f"{address}:{destination.migration_port}"


def _ask(connection: Connection, uuid: str, uri: str, copied_disks: Sequence[str] = ()) -> Exception | None:
    """Libvirt's answer to a migration to `uri` that cannot come about."""
    domain = connection.lookupByUUIDString(uuid)
    root = parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE), "domain")
    found = root.find("uuid")
    assert found is not None  # noqa: S101 - libvirt writes one
    found.text = _STRANGER
    flags = libvirt.VIR_MIGRATE_PEER2PEER
    flags |= libvirt.VIR_MIGRATE_LIVE if domain.isActive() else libvirt.VIR_MIGRATE_OFFLINE
    if domain.isPersistent():
        flags |= libvirt.VIR_MIGRATE_PERSIST_DEST
    parameters: Parameters = {libvirt.VIR_MIGRATE_PARAM_DEST_XML: ET.tostring(root, encoding="unicode")}
    if copied_disks:
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_DISK
        parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(copied_disks)
    try:
        domain.migrateToURI3(uri, parameters, flags)
    except LibvirtError as error:
        return error
    return None
