"""Storage: each pool that holds a disk of the VM must be active there.

A host whose storage is unknown is not refused.
"""

import numpy as np

from ..cluster.reason import Reason
from .view import BoolArray, Need, View

CODE = "storage_missing"


def mask(view: View, need: Need) -> BoolArray:
    """Hosts that have all storage pools of `need`, shape (hosts,)."""
    present = (host.storage for host in view.hosts)
    return np.array([there is None or need.storage <= there for there in present], dtype=bool)


def reason(view: View, need: Need, host: int) -> Reason:
    """Which are not on `host`; call only where `mask` is false."""
    missing = sorted(need.storage - (view.hosts[host].storage or frozenset()))
    return Reason(
        CODE,
        f"has no storage pool {', '.join(missing)}",
        remedy=f"start {', '.join(missing)} there: virsh pool-start",
        missing=missing,
    )
