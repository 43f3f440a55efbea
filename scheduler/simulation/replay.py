"""A replay: one policy steers one cluster through a load table, and what came of it."""

from dataclasses import dataclass
from typing import Protocol

from .load import LoadTable
from .meter import Figures, Meter, Moment
from .scene import Scene

METER_S = 10.0
"""How often it is counted who waits; where a VM is, is known to so many seconds."""


class Steering(Protocol):
    """What steers a cluster by its own tasks, on the scene's clock."""

    async def begin(self, scene: Scene, meter: Meter) -> None:
        """Start them."""

    async def end(self) -> None:
        """Stop them."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it, and how it looked minute by minute."""

    figures: Figures
    moments: list[Moment]


async def replay(scene: Scene, load: LoadTable, steering: Steering) -> Replayed:
    """Let `steering` have the cluster until the table ends."""
    clock, meter = scene.clock, Meter(scene)
    changes = list(load.changes)
    await steering.begin(scene, meter)
    now_s, next_change = 0.0, 0
    try:
        while now_s < load.end_s:
            while next_change < len(changes) and changes[next_change][0] <= now_s:
                _, wanted = changes[next_change]
                scene.set_loads(wanted)
                meter.set_demands(wanted)
                next_change += 1
            until_s = min(now_s + METER_S, load.end_s)
            if next_change < len(changes):
                until_s = min(until_s, changes[next_change][0])
            await clock.advance(until_s - clock.monotonic())
            now_s = until_s
            meter.take(now_s)
    finally:
        await steering.end()
    return Replayed(meter.close(now_s), meter.moments)
