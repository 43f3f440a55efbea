"""Pins (must): a pinned VM runs on none but its hosts; of several pins all hold."""

import numpy as np

from ..cluster.reason import Reason
from .view import BoolArray, Need, View

CODE = "pinned"


def mask(view: View, need: Need) -> BoolArray:
    """Hosts that all pins of `need` allow, shape (hosts,)."""
    return np.array([all(pin.allows(host.name) for pin in need.groups.pins) for host in view.hosts], dtype=bool)


def reason(view: View, need: Need, host: int) -> Reason:
    """Which pin keeps the VM from `host`; call only where `mask` is false."""
    pin = next(pin for pin in need.groups.pins if not pin.allows(view.hosts[host].name))
    return Reason(CODE, f"pinned to {', '.join(pin.hosts)}", vm=pin.vm, hosts=list(pin.hosts))
