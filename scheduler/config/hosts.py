"""The hosts of the cluster."""

import re
import socket
from typing import Annotated

from pydantic import Field

from ..cluster.ports import HostAddress
from ..operations.settings import Mode
from .quantities import Count, SizeMib
from .section import HostName, OptionalUri, Section, Uri


class HostSection(Section):
    """A libvirt host."""

    name: HostName
    """What it is called here; need not be its DNS name."""
    uri: Uri
    """How the daemon reaches its libvirt."""
    peer_uri: OptionalUri = ""
    """How the other hosts' libvirt reaches it; `uri` when it is not given."""
    migration_address: str = ""
    """Its address in the migration network; libvirt chooses when it is not given."""
    migration_port: Annotated[Count, Field(ge=1, le=65535)] = 49152
    """The first of the ports on which its QEMU takes in memory: `migration_port_min` of its qemu.conf."""
    reserved_memory_mib: SizeMib = 1024
    """Memory kept for the host itself; VMs never get it."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Free names, such as the rack."""
    mode: Annotated[Mode | None, Field(exclude_if=lambda mode: mode is None)] = None
    """The mode for VMs that run on it; `mode` of the cluster when it is not given."""

    def to_address(self) -> HostAddress:
        """As the hypervisor room wants it."""
        return HostAddress(
            name=self.name,
            uri=self.uri,
            peer_uri=self.peer_uri or self.uri,
            migration_address=self.migration_address or None,
            migration_port=self.migration_port,
        )


def local_host() -> HostSection:
    """This machine, which is the cluster when nothing else is configured."""
    name = re.sub(r"[^\w.-]", "-", socket.gethostname()) or "localhost"
    return HostSection(name=name, uri="qemu:///system")
