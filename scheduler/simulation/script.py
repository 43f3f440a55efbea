"""What happens to a cluster beside its load: VMs that start and stop, hosts that fail, come back or are emptied."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random


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
    BREAK = "break"
    """A host: migrations to it break off half-way."""
    MEND = "mend"
    """A host: they do not any more."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One deed. `subject` is the UUID of a VM or the name of a host."""

    time_s: float
    deed: Deed
    subject: str
    host: str | None = None
    """Where a VM starts."""


def silences(hosts: Iterable[str], end_s: float, ratio: float, seed: int) -> Iterator[Happening]:
    """Each host stops answering, for a minute each time, during that part of the time; its guests go on."""
    chance = Random(seed)  # noqa: S311 - a replay must be the same each time
    for host in hosts:
        silent = False
        for minute in range(1, int(end_s / 60.0)):
            if silent is not (silent := chance.random() < ratio):
                yield Happening(minute * 60.0, Deed.LOSE if silent else Deed.RETURN, host)
