"""Networks: each network and bridge that a NIC of the VM is plugged into must be there.

A host whose networks are unknown is not refused.
"""

import numpy as np

from ..cluster.reason import Reason
from .view import BoolArray, Need, View

CODE = "network_missing"


def mask(view: View, need: Need) -> BoolArray:
    """Hosts that have all networks of `need`, shape (hosts,)."""
    present = (host.networks for host in view.hosts)
    return np.array([there is None or need.networks <= there for there in present], dtype=bool)


def reason(view: View, need: Need, host: int) -> Reason:
    """Which are not on `host`; call only where `mask` is false."""
    missing = sorted(need.networks - (view.hosts[host].networks or frozenset()))
    return Reason(CODE, f"has no {', '.join(missing)}", remedy=f"make {', '.join(missing)} there", missing=missing)
