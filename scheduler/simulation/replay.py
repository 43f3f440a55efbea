"""A replay: one policy steers one cluster through a load table and a script, and what came of it."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .load import LoadTable
from .meter import Figures, Meter, Moment
from .scene import Scene
from .script import Happening
from .stage import StageHand
from .steering import Steering

METER_S: Final = 10.0
"""How often it is counted who waits; where a VM is, is known to so many seconds."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it, and how it looked minute by minute."""

    figures: Figures
    moments: list[Moment]


async def replay(scene: Scene, load: LoadTable, steering: Steering, happenings: Iterable[Happening] = ()) -> Replayed:
    """Let `steering` have the cluster until the table ends."""
    clock, meter = scene.clock, Meter(scene)
    changes, deeds = deque(load.changes), deque(sorted(happenings, key=lambda one: one.time_s))
    await steering.begin(scene, meter)
    stage, now_s = StageHand(scene, meter, steering), 0.0
    try:
        while now_s < load.end_s:
            while deeds and deeds[0].time_s <= now_s:
                stage.do(deeds.popleft())
            while changes and changes[0][0] <= now_s:
                _, wanted = changes.popleft()
                scene.set_loads(wanted)
                meter.set_demands(wanted)
            soon = [changes[0][0]] if changes else []
            soon += [deeds[0].time_s] if deeds else []
            until_s = min(now_s + METER_S, load.end_s, *soon)
            await clock.advance(until_s - clock.monotonic())
            now_s = until_s
            meter.take(now_s)
    finally:
        try:
            await stage.end()
        finally:
            await steering.end()
    return Replayed(meter.close(now_s), meter.moments)
