"""Change: VMs and where they go together, and what that is worth; what the search for relief is made of."""

from dataclasses import dataclass
from typing import Final

LEAST_GAIN: Final = 1e-6
"""Core-seconds by which a change must lower the bill."""


@dataclass(frozen=True, slots=True)
class Change:
    """VMs with the hosts they go to, and by how many core-seconds that lowers the bill."""

    places: tuple[tuple[int, int], ...] = ()
    value: float = 0.0


NONE: Final = Change()
