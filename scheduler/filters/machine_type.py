"""Machine type: the host's QEMU must offer the VM's. A host whose types are unknown is not refused."""

import numpy as np

from ..cluster.reason import Reason
from .view import BoolArray, Need, View

CODE = "machine_type"
_REMEDY = "install a QEMU there that offers it, or give the VM an older one and start it anew"


def mask(view: View, need: Need) -> BoolArray:
    """Hosts that offer the machine type of `need`, shape (hosts,)."""
    offered = (host.machine_types for host in view.hosts)
    return np.array(
        [need.machine_type is None or types is None or need.machine_type in types for types in offered], dtype=bool
    )


def reason(view: View, need: Need, host: int) -> Reason:  # noqa: ARG001 - every filter is asked the same way
    """What `host` does not offer; call only where `mask` is false."""
    return Reason(CODE, f"has no machine type {need.machine_type}", remedy=_REMEDY, machine_type=need.machine_type)
