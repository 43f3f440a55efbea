"""Devices: a VM with a device that cannot move (hostdev, local disk, ...) stays where it is."""

import numpy as np

from ..cluster.reason import Reason
from .view import NOWHERE, BoolArray, Need, View

CODE = "not_movable"


def mask(view: View, need: Need) -> BoolArray:
    """All hosts, or only its own when the VM cannot leave it, shape (hosts,)."""
    if need.movable or need.host == NOWHERE:
        return np.ones(len(view.hosts), dtype=bool)
    return np.array([host == need.host for host in range(len(view.hosts))], dtype=bool)


def reason(view: View, need: Need, host: int) -> Reason:  # noqa: ARG001 - every filter is asked the same way
    """What keeps the VM where it is; call only where `mask` is false."""
    text = "; ".join(need.blockers) or "it is marked as not movable"
    return Reason(CODE, f"cannot leave its host: {text}", blockers=list(need.blockers))
