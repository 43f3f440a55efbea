"""Older hypervisor: a running VM does not move to a host whose QEMU or libvirt is older than where it runs.

Hosts of unknown versions are not refused, and a stopped VM may start anywhere.
"""

import numpy as np

from ..cluster.reason import Reason
from ..cluster.versions import older
from .view import BoolArray, Need, View

CODE = "hypervisor_older"


def mask(view: View, need: Need) -> BoolArray:
    """Hosts with nothing older than where `need` runs, shape (hosts,)."""
    if not need.live or not any(need.versions):
        return np.ones(len(view.hosts), dtype=bool)
    return np.array([not older(host.versions, need.versions) for host in view.hosts], dtype=bool)


def reason(view: View, need: Need, host: int) -> Reason:
    """What is older on `host`; call only where `mask` is false."""
    behind = ", ".join(older(view.hosts[host].versions, need.versions))
    return Reason(CODE, f"{behind}, where it runs", remedy=f"upgrade {view.hosts[host].name}")
