"""Already defined: a host with another definition of the VM's UUID or name would refuse it, or lose that definition."""

import numpy as np

from ..cluster.reason import Reason
from .view import BoolArray, Need, View

CODE = "already_defined"


def mask(view: View, need: Need) -> BoolArray:
    """Hosts without a stale definition of the VM and without a namesake, shape (hosts,)."""
    taken = need.defined_elsewhere | need.namesakes_on
    return np.array([host.name not in taken for host in view.hosts], dtype=bool)


def reason(view: View, need: Need, host: int) -> Reason:
    """That `host` has one; call only where `mask` is false."""
    if view.hosts[host].name in need.defined_elsewhere:
        return Reason(
            CODE,
            "holds an old definition with the VM's UUID; undefine it there first",
            remedy="virsh undefine it there",
        )
    return Reason(CODE, "has another VM of the same name", remedy="rename one of the two: virsh domrename")
