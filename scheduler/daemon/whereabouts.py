"""On which host each VM was last seen running, and so which VMs have moved. Pure."""

from collections.abc import Collection
from dataclasses import dataclass

from ..cluster.model import VmState
from ..cluster.observation import HostObservation

HANDOVER_S = 5.0
"""Two hosts may show a VM for so long while one hands it over to the other."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A VM that ran on one host and now runs on another. `vm` is its name."""

    uuid: str
    vm: str
    source: str
    destination: str


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A VM also runs on `host`, which a look of `since_s` was the first to show."""

    host: str
    since_s: float


class Whereabouts:
    """A VM has moved when it runs elsewhere and its host does not show it any more.

    One that two hosts show is either between two looks, or runs twice for good; neither is a move.
    """

    def __init__(self) -> None:
        self._ran_on: dict[str, str] = {}
        self._running: dict[str, dict[str, str]] = {}
        """By host: the names of the VMs that its latest look shows running, by UUID."""
        self._arrivals: dict[str, _Arrival] = {}
        """VMs that also run on another host than theirs."""
        self._looked_at_s: dict[str, float] = {}

    def note(self, look: HostObservation) -> tuple[list[Moved], set[str]]:
        """Take in a look; returns who has moved, and which hosts must be looked at to tell who else has."""
        here = {
            domain.uuid: domain.name
            for domain in look.domains
            if domain.state is not VmState.STOPPED and not domain.incoming
        }
        self._running[look.host] = here
        self._looked_at_s[look.host] = look.monotonic_s
        in_doubt: set[str] = set()
        for uuid in here:
            known = self._ran_on.setdefault(uuid, look.host)
            arrival = self._arrivals.get(uuid)
            if known != look.host and (arrival is None or arrival.host != look.host):
                self._arrivals[uuid] = _Arrival(look.host, look.monotonic_s)
                in_doubt.add(known)
        moved = self._settle()
        return moved, in_doubt - {one.source for one in moved}

    def changing_hands(self) -> set[str]:
        """UUIDs of VMs that two hosts show, and have not yet shown again long after that began."""
        return {
            uuid
            for uuid, arrival in self._arrivals.items()
            if min(self._looked_at_s.get(host, 0.0) for host in (arrival.host, self._ran_on[uuid]))
            < arrival.since_s + HANDOVER_S
        }

    def lost(self, host: str) -> None:
        """The host cannot be seen any more: what runs on another one meanwhile has moved there."""
        self._running.pop(host, None)

    def forget_all_but(self, uuids: Collection[str]) -> None:
        """Drop the VMs that no longer exist anywhere."""
        for uuid in self._ran_on.keys() - uuids:
            del self._ran_on[uuid]
            self._arrivals.pop(uuid, None)

    def _settle(self) -> list[Moved]:
        moved = []
        for uuid, arrival in list(self._arrivals.items()):
            source, destination = self._ran_on[uuid], arrival.host
            name = self._running.get(destination, {}).get(uuid)
            if name is not None and uuid in self._running.get(source, {}):
                continue
            del self._arrivals[uuid]
            if name is not None:
                self._ran_on[uuid] = destination
                moved.append(Moved(uuid, name, source, destination))
        return moved
