"""What became of a migration, read from what both hosts show once the call has ended. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from ..cluster.model import VmState
from ..cluster.observation import DomainObservation
from .records import MigrationState


class Sight(StrEnum):
    """What one host shows of the VM."""

    RUNNING = "running"
    PAUSED = "paused"
    """Also the receiving half, which is paused until it is complete."""
    GONE = "gone"
    """No process of it there; there may be a definition."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pair of sights means."""

    state: MigrationState
    text: str
    """What a person should know; empty when all is well."""
    may_change: bool = False
    """The hypervisors may still be at it, or they were asked at unlike moments: look again before believing it."""


_R, _P, _G = Sight.RUNNING, Sight.PAUSED, Sight.GONE
_FAILED, _COMPLETED, _UNKNOWN = MigrationState.FAILED, MigrationState.COMPLETED, MigrationState.UNKNOWN

# The first five are what a live migration passes through, in its order; the others take somebody else's doing.
_OUTCOMES = {
    (_R, _G): Outcome(_FAILED, ""),
    (_R, _P): Outcome(_FAILED, "an unfinished copy is left on {destination}", may_change=True),
    (_P, _P): Outcome(_UNKNOWN, "paused on both {source} and {destination}", may_change=True),
    (_P, _R): Outcome(_UNKNOWN, "runs on {destination}, a paused copy is left on {source}", may_change=True),
    (_G, _R): Outcome(_COMPLETED, ""),
    (_P, _G): Outcome(_FAILED, "it is paused on {source}", may_change=True),
    (_G, _P): Outcome(_COMPLETED, "it is paused on {destination}", may_change=True),
    (_R, _R): Outcome(_UNKNOWN, "runs on both {source} and {destination}: stop one of them", may_change=True),
    (_G, _G): Outcome(_FAILED, "it runs on neither {source} nor {destination}: it was stopped", may_change=True),
}


def sight(domain: DomainObservation | None) -> Sight:
    """What one host's answer amounts to."""
    if domain is None or domain.state is VmState.STOPPED:
        return Sight.GONE
    if domain.incoming or domain.state is VmState.PAUSED:
        return Sight.PAUSED
    return Sight.RUNNING


def outcome(source: Sight, destination: Sight) -> Outcome:
    """What the two sights mean together. The text has `{source}` and `{destination}` to fill in."""
    return _OUTCOMES[source, destination]
