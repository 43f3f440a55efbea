"""Keeps the loop of a large cluster's daemon from being held up by Python itself.

A full collection of garbage walks over all that lives: with 20,000 VMs half a second and more, and it comes again and
again, for looks replace what was seen before. What has lived for some seconds is therefore left out of collections; it
goes when nothing refers to it any more, as nearly all of it does. What refers to itself waits for the hourly one.
"""

import gc
import sys
from typing import Final

from ..operations.clock import Clock

LEFT_OUT_EVERY_S: Final = 5.0
FULL_EVERY_S: Final = 3600.0
SWITCH_INTERVAL_S: Final = 0.0005
"""So soon a thread that thinks gives way to the loop; Python's own 5 ms, at each wait in a request, add up."""


async def keep_short(clock: Clock) -> None:
    """Until cancelled; then all is as it was."""
    switch_interval_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        while True:
            gc.unfreeze()
            gc.collect()
            for _ in range(int(FULL_EVERY_S / LEFT_OUT_EVERY_S)):
                gc.collect(1)
                gc.freeze()
                await clock.sleep(LEFT_OUT_EVERY_S)
    finally:
        gc.unfreeze()
        sys.setswitchinterval(switch_interval_s)
