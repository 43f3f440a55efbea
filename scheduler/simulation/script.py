"""What happens to a cluster beside its load: VMs that start and stop, hosts that fail, come back or are emptied."""

from dataclasses import dataclass
from enum import StrEnum


class Deed(StrEnum):
    """What is done to a VM or a host."""

    START = "start"
    """A VM: on the host that is told, else on the one that the policy chooses."""
    STOP = "stop"
    """A VM shuts down."""
    CRASH = "crash"
    """A host fails with all its guests."""
    LOSE = "lose"
    """A host's libvirt does not answer any more; its guests go on."""
    RETURN = "return"
    """A host is back."""
    CORDON = "cordon"
    """A host: nothing moves to it or starts on it."""
    DRAIN = "drain"
    """A host is cordoned and emptied."""
    UNCORDON = "uncordon"
    """A host is in service again."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One deed. `subject` is the UUID of a VM or the name of a host."""

    time_s: float
    deed: Deed
    subject: str
    host: str | None = None
    """Where a VM starts."""
