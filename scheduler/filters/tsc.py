"""Time stamp counter: a guest that was promised one of a frequency needs a host whose own counts as fast.

A host that scales the counter, or does not tell its frequency, is not refused.
"""

from typing import Final

import numpy as np

from ..cluster.reason import Reason
from .view import BoolArray, Need, View

CODE = "tsc_frequency"
TOLERANCE: Final = 250e-6
"""By how much of the frequency they may differ; QEMU and libvirt allow as much."""


def mask(view: View, need: Need) -> BoolArray:
    """Hosts whose counter counts as fast as that of `need`, shape (hosts,)."""
    if need.tsc_hz is None:
        return np.ones(len(view.hosts), dtype=bool)
    wanted = need.tsc_hz
    given = (host.tsc_hz for host in view.hosts)
    return np.array([hz is None or abs(hz - wanted) <= TOLERANCE * wanted for hz in given], dtype=bool)


def reason(view: View, need: Need, host: int) -> Reason:
    """How fast that of `host` counts; call only where `mask` is false."""
    given, wanted = view.hosts[host].tsc_hz or 0, need.tsc_hz or 0
    return Reason(
        CODE,
        f"its TSC has {given / 1e6:,.3f} MHz, the guest was promised {wanted / 1e6:,.3f} MHz",
        remedy="leave the frequency out of clock/timer, and the feature invtsc with it, and start it anew",
        tsc_hz=given,
    )
