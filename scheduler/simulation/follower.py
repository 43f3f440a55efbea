"""Steers a cluster by a policy of others: asks it each period and migrates what it says."""

import asyncio

import numpy as np

from ..cluster.ports import HostAddress, HypervisorError, MigrationOptions
from ..daemon.waiting import end
from .meter import Meter
from .policies import Policy
from .scene import Scene
from .seen import Move, Seen

SAMPLE_S = 10.0
AT_ONCE = 2
"""Migrations that one host sends at the same time."""
OPTIONS = MigrationOptions(persistent=True)


class Follower:
    """Carries out what a policy decides; a migration that fails is left to its next decision."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._tasks: list[asyncio.Task[None]] = []
        self._moving: set[int] = set()
        self._slots: dict[int, asyncio.Semaphore] = {}

    async def begin(self, scene: Scene, meter: Meter) -> None:
        """See Steering."""
        for host in scene.snapshot.hosts:
            await scene.cluster.connect(HostAddress(name=host.name, uri=f"test://{host.name}/default", peer_uri=""))
        self._tasks.append(asyncio.create_task(self._follow(scene, meter)))

    async def end(self) -> None:
        """See Steering."""
        await end(*self._tasks)

    async def _follow(self, scene: Scene, meter: Meter) -> None:
        summed, samples = np.zeros_like(meter.demand), 0
        next_s = self._policy.period_s
        while True:
            await scene.clock.sleep(SAMPLE_S)
            summed, samples = summed + meter.demand, samples + 1
            now_s = scene.clock.monotonic()
            if now_s < next_s:
                continue
            next_s = now_s + self._policy.period_s
            seen = Seen(now_s, scene.snapshot, summed / samples, meter.place, moving=bool(self._moving))
            summed, samples = np.zeros_like(meter.demand), 0
            for move in self._policy.moves(seen):
                if move.vm not in self._moving:
                    self._tasks.append(asyncio.create_task(self._migrate(scene, meter, move)))

    async def _migrate(self, scene: Scene, meter: Meter, move: Move) -> None:
        source = int(meter.place[move.vm])
        if source == move.destination:
            return
        self._moving.add(move.vm)
        hosts, uuid = scene.snapshot.hosts, next(uuid for uuid, row in meter.rows.items() if row == move.vm)
        try:
            async with self._slots.setdefault(source, asyncio.Semaphore(AT_ONCE)):
                await scene.cluster.migrate(uuid, hosts[source].name, hosts[move.destination].name, OPTIONS)
        except HypervisorError:
            pass  # it stays where it is, and the policy sees that
        finally:
            self._moving.discard(move.vm)
