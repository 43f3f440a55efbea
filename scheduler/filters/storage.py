"""Storage: each pool that holds a disk of the VM must be active there, and one for each disk that is copied there.

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
    pools = ", ".join(f"at {one}" if one.startswith("/") else one for one in missing)
    return Reason(
        CODE,
        f"has no storage pool {pools}",
        remedy=f"start a pool {pools} there: virsh pool-start",
        missing=missing,
    )
