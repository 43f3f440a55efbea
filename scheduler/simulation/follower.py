"""Steers a cluster by a policy of others: asks it each period and migrates what it says."""

import asyncio
from dataclasses import replace

import numpy as np

from ..cluster.model import HostState, Snapshot, VmState
from ..cluster.ports import HostAddress, HypervisorError, MigrationOptions
from ..daemon.waiting import end
from .meter import NOWHERE, Meter
from .policies import Policy
from .scene import Scene
from .script import Deed
from .seen import IntArray, Move, Seen

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
        self._scene: Scene

    async def begin(self, scene: Scene, meter: Meter) -> None:
        """See Steering."""
        self._scene = scene
        for host in scene.snapshot.hosts:
            await scene.cluster.connect(HostAddress(name=host.name, uri=f"test://{host.name}/default", peer_uri=""))
        self._tasks.append(asyncio.create_task(self._follow(scene, meter)))

    async def end(self) -> None:
        """See Steering."""
        await end(*self._tasks)

    async def place(self, uuid: str) -> bool:
        """See Steering: on the host with most memory left."""
        vm = next(vm for vm in self._scene.snapshot.vms if vm.uuid == uuid)
        up = [host for host in self._scene.snapshot.hosts if self._scene.states[host.name] is HostState.UP]
        best = max(up, key=self._scene.free_memory_mib, default=None)
        if best is None or self._scene.free_memory_mib(best) < vm.memory_mib:
            return False
        self._scene.cluster.begin_guest(best.name, uuid)
        return True

    async def serve(self, deed: Deed, host: str) -> None:
        """See Steering: it is told by `scene.states`; nobody empties a host."""

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
            running = np.flatnonzero(meter.place != NOWHERE)
            shown = _shown(scene, meter, running)
            mean = summed[running] / samples
            seen = Seen(now_s, shown, mean, meter.place[running], moving=bool(self._moving))
            summed, samples = np.zeros_like(meter.demand), 0
            for move in self._policy.moves(seen):
                vm = int(running[move.vm])
                if vm not in self._moving:
                    self._tasks.append(asyncio.create_task(self._migrate(scene, meter, Move(vm, move.destination))))

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


def _shown(scene: Scene, meter: Meter, running: IntArray) -> Snapshot:
    """The hosts as they are and the VMs that run, in the order of their rows."""
    hosts = tuple(replace(host, state=scene.states[host.name]) for host in scene.snapshot.hosts)
    vms = [vm for vm in scene.snapshot.vms if vm.uuid in meter.rows]
    found = (vms[row] for row in running)
    here = (
        vm if vm.active else replace(vm, state=VmState.RUNNING, host=hosts[meter.place[meter.rows[vm.uuid]]].name)
        for vm in found
    )
    return replace(scene.snapshot, hosts=hosts, vms=tuple(here))
