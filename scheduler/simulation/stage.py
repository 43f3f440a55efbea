"""The stage hand: does to a simulated cluster what a script says, by way of the policy where that is asked."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from ..cluster.model import HostState
from .meter import Meter
from .scene import Scene
from .script import Deed, Happening
from .steering import Steering


class StageHand:
    """Does deeds at once; what the policy does about them is waited for by nobody but `end`."""

    def __init__(self, scene: Scene, meter: Meter, steering: Steering) -> None:
        self._scene = scene
        self._meter = meter
        self._steering = steering
        self._asked: list[asyncio.Task[None]] = []

    def do(self, happening: Happening) -> None:
        """One deed, now."""
        scene, subject = self._scene, happening.subject
        if happening.deed is Deed.START:
            self._start(subject, happening.host)
        elif happening.deed is Deed.STOP:
            for host in scene.cluster.running_on(subject):
                scene.cluster.end_guest(host, subject)
        elif happening.deed is Deed.CRASH:
            scene.cluster.crash(subject)
            scene.states[subject] = HostState.UNREACHABLE
        elif happening.deed is Deed.LOSE:
            scene.cluster.cut(subject)
            scene.states[subject] = HostState.UNREACHABLE
        elif happening.deed is Deed.RETURN:
            scene.cluster.restore(subject)
            scene.states[subject] = HostState.UP
        elif happening.deed in {Deed.BREAK, Deed.MEND}:
            scene.cluster.host(subject).receive_breaks_at = 0.5 if happening.deed is Deed.BREAK else None
        else:
            scene.states[subject] = HostState.UP if happening.deed is Deed.UNCORDON else HostState.MAINTENANCE
            self._ask(self._steering.serve(happening.deed, subject))

    async def end(self) -> None:
        """Give up what is still waited for; an error in what is done is raised."""
        for task in self._asked:
            task.cancel()
        for outcome in await asyncio.gather(*self._asked, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    def _start(self, uuid: str, host: str | None) -> None:
        if self._scene.cluster.running_on(uuid):
            return
        if host is None:
            self._ask(self._place(uuid))
            return
        found = self._with_room(uuid, host)
        if found is None:
            self._meter.figures.placements_refused += 1
        else:
            self._scene.cluster.begin_guest(found, uuid)

    def _with_room(self, uuid: str, wished: str) -> str | None:
        """The host that is wished, or the one with most room where moves have filled that one."""
        memory_mib = next(vm.memory_mib for vm in self._scene.snapshot.vms if vm.uuid == uuid)
        room = {
            host.name: self._scene.free_memory_mib(host) - memory_mib
            for host in self._scene.snapshot.hosts
            if self._scene.states[host.name] is not HostState.UNREACHABLE
        }
        best = max(room, key=lambda name: (name == wished and room[name] >= 0, room[name]), default=None)
        return best if best is not None and room[best] >= 0 else None

    async def _place(self, uuid: str) -> None:
        if not await self._steering.place(uuid):
            self._meter.figures.placements_refused += 1

    def _ask(self, work: Coroutine[Any, Any, None]) -> None:
        self._asked.append(asyncio.create_task(work))
