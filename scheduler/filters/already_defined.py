"""Already defined: a host with another definition of the same UUID would refuse the VM, or lose that definition."""

import numpy as np

from ..cluster.reason import Reason
from .view import BoolArray, Need, View

CODE = "already_defined"


def mask(view: View, need: Need) -> BoolArray:
    """Hosts without a stale definition of the VM, shape (hosts,)."""
    return np.array([host.name not in need.defined_elsewhere for host in view.hosts], dtype=bool)


def reason(view: View, need: Need, host: int) -> Reason:  # noqa: ARG001 - every filter is asked the same way
    """That `host` has one; call only where `mask` is false."""
    return Reason(CODE, "holds an old definition with the VM's UUID; undefine it there first")
