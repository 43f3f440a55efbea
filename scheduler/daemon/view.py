"""The cluster as decisions see it: what was last seen, laid over with what is under way and what people said."""

from collections.abc import Callable, Collection

from ..cluster.hold import ContentionClock
from ..cluster.model import HostState, Snapshot
from ..filters.view import View as Arrays
from ..operations.gate import Gate
from ..planner.load import Load
from ..planner.settings import PlannerSettings
from .observer import Observer


class View:
    """Makes the snapshots that everything is decided on. `cordoned` tells which hosts people took out of service."""

    def __init__(
        self, observer: Observer, gate: Gate, cordoned: Callable[[], Collection[str]], clock: Callable[[], float]
    ) -> None:
        self._observer = observer
        self._gate = gate
        self._cordoned = cordoned
        self._clock = clock
        self._contention = ContentionClock()

    def snapshot(self) -> Snapshot:
        """The cluster now."""
        now_s = self._clock()
        hosts = self._observer.names
        seen = self._observer.snapshot(
            cordoned=self._cordoned(),
            contended_seconds={host: self._contention.seconds(host, now_s) for host in hosts},
        )
        return self._gate.overlay(seen)

    async def refresh(self, *hosts: str) -> Snapshot:
        """The cluster with a fresh look at these hosts."""
        await self._observer.look(*hosts)
        return self.snapshot()

    def judge_contention(self, settings: PlannerSettings) -> bool:
        """Count on for hosts that are contended by their last two looks; whether one has been for long enough.

        A mean over a longer time would still show a spike when it is over, and so outlast the hold.
        """
        now_s = self._clock()
        latest = self._gate.overlay(self._observer.snapshot(cordoned=self._cordoned(), recent_s=0.0))
        judged = {host.name for host in latest.hosts if host.state is not HostState.UNREACHABLE and not host.stale}
        self._contention.update(now_s, _contended(latest, settings), judged)
        for host in latest.hosts:
            if any(self._gate.slots(host.name)):
                self._contention.restart(host.name, now_s)
        return any(self._contention.seconds(host, now_s) >= settings.hold_seconds for host in judged)

    def restart_contention(self, *hosts: str) -> None:
        """What runs on these hosts has changed: contention must show anew before it is acted on again."""
        for host in hosts:
            self._contention.restart(host, self._clock())


def _contended(snapshot: Snapshot, settings: PlannerSettings) -> set[str]:
    """The hosts that the planner finds short of CPU or memory."""
    load = Load(Arrays(snapshot), settings)
    return {host.name for host, contended in zip(load.view.hosts, load.contended, strict=True) if contended}
