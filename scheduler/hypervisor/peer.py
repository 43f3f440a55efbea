"""Going from one host's libvirt to another's without moving anything.

A migration is asked for whose destination XML is that of another domain. libvirt first has the source connect to the
destination, with the source's credentials, and check what itself holds against the migration (devices, unsafe disk
caches); then it compares the XML and refuses. The guest is not touched, no event is sent, and the destination is not
told of the domain. Seen with libvirt 9.0: 10 ms.
"""

from xml.etree import ElementTree as ET

from ..cluster.ports import HostAddress, PeerError
from .binding import Connection, LibvirtError, libvirt
from .errors import PEER_DOMAINS, alive, domain_of
from .xml_text import parse

_STRANGER = "6a1f9f3c-5d0e-4c55-9a0e-7e1f2d3c4b5a"
"""The UUID of no domain."""


def probe(connection: Connection, host: str, uuid: str, destination: HostAddress) -> None:
    """Go as far towards a migration of the domain as can be gone without harm.

    Raises PeerError when the destination's libvirt cannot be reached or lets nobody in, LibvirtError for all else.
    """
    domain = connection.lookupByUUIDString(uuid)
    root = parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE), "domain")
    found = root.find("uuid")
    assert found is not None  # noqa: S101 - libvirt writes one
    found.text = _STRANGER
    flags = libvirt.VIR_MIGRATE_PEER2PEER
    flags |= libvirt.VIR_MIGRATE_LIVE if domain.isActive() else libvirt.VIR_MIGRATE_OFFLINE
    if domain.isPersistent():
        flags |= libvirt.VIR_MIGRATE_PERSIST_DEST
    parameters = {libvirt.VIR_MIGRATE_PARAM_DEST_XML: ET.tostring(root, encoding="unicode")}
    try:
        domain.migrateToURI3(destination.peer_uri, parameters, flags)
    except LibvirtError as error:
        if _STRANGER in str(error):
            return
        if domain_of(error) in PEER_DOMAINS and alive(connection):
            failure = str(error)
        else:
            raise
    raise PeerError(host, failure)
