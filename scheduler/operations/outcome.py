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
    UNSEEN = "unseen"
    """The host was taken out of the config while no daemon ran, and cannot be asked."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pair of sights means."""

    state: MigrationState
    text: str
    """What a person should know; empty when all is well."""
    may_change: bool = False
    """The hypervisors may still be at it, or they were asked at unlike moments: look again before believing it."""


_R, _P, _G, _U = Sight.RUNNING, Sight.PAUSED, Sight.GONE, Sight.UNSEEN
_FAILED, _COMPLETED, _UNKNOWN = MigrationState.FAILED, MigrationState.COMPLETED, MigrationState.UNKNOWN

_NO_SOURCE = "{source}, which it came from, is no host of the config any more"
_NO_DESTINATION = "{destination}, where it was to go, is no host of the config any more"

# The first five are what a live migration passes through, in its order; the next four take somebody else's doing, the
# last ones a change of the config.
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
    (_R, _U): Outcome(_FAILED, f"it did not leave {{source}}; {_NO_DESTINATION}"),
    (_P, _U): Outcome(_UNKNOWN, f"it is paused on {{source}}; {_NO_DESTINATION}: see what is there", may_change=True),
    (_G, _U): Outcome(_UNKNOWN, f"it is not on {{source}} any more; {_NO_DESTINATION}: see whether it runs there"),
    (_U, _R): Outcome(_UNKNOWN, f"it runs on {{destination}}; {_NO_SOURCE}: see that no copy of it is left there"),
    (_U, _P): Outcome(_UNKNOWN, f"it is paused on {{destination}}; {_NO_SOURCE}: see what is there", may_change=True),
    (_U, _G): Outcome(_UNKNOWN, f"it is not on {{destination}}; {_NO_SOURCE}: see whether it still runs there"),
    (_U, _U): Outcome(_UNKNOWN, "neither {source} nor {destination} is a host of the config any more: nobody looked"),
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
