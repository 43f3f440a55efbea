"""Has each running VM's rate of writing memory sampled now and then: of it is told how its migration would go."""

import asyncio
from typing import Final

import structlog

from ..cluster.demand import START_UP_S, DemandBook
from ..cluster.model import VmState
from ..cluster.observation import HostObservation
from ..cluster.ports import HypervisorCluster, HypervisorError, RefusedError
from ..operations.clock import Clock
from .waiting import end

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 600.0
"""How often a VM is sampled at most. Each look at a host lets one of its VMs be sampled: of many each less often."""


class DirtyRates:
    """Samples one VM a host at a time, the one that was not for longest, and never one that migrates."""

    def __init__(self, cluster: HypervisorCluster, demand: DemandBook, clock: Clock) -> None:
        self._cluster = cluster
        self._demand = demand
        self._clock = clock
        self._running_since_s: dict[str, tuple[str, float]] = {}
        """Where each VM was first seen running, and when; what boots writes much."""
        self._shown: dict[str, set[str]] = {}
        """By host: the VMs that its latest look showed running."""
        self._tried_at_s: dict[str, float] = {}
        self._sampling: dict[str, asyncio.Task[None]] = {}
        self._unable: set[str] = set()
        """Hosts that cannot sample, until they are connected anew."""

    def seen(self, look: HostObservation) -> None:
        """Have one of the VMs of this look sampled, if it is time for one."""
        host, now_s = look.host, look.monotonic_s
        running = {domain.uuid for domain in look.domains if domain.state is VmState.RUNNING and not domain.incoming}
        for uuid in running:
            if self._running_since_s.get(uuid, ("", 0.0))[0] != host:
                self._running_since_s[uuid] = host, now_s
        for uuid in self._shown.get(host, set()) - running:
            if self._running_since_s.get(uuid, ("", 0.0))[0] == host:
                del self._running_since_s[uuid]
                self._tried_at_s.pop(uuid, None)
        self._shown[host] = running
        if host in self._sampling or host in self._unable:
            return
        settled = sorted(uuid for uuid in running if now_s - self._running_since_s[uuid][1] >= START_UP_S)
        due = min(settled, key=lambda uuid: self._tried_at_s.get(uuid, float("-inf")), default=None)
        if due is not None and now_s - self._tried_at_s.get(due, float("-inf")) >= INTERVAL_S:
            self._tried_at_s[due] = now_s
            task = asyncio.create_task(self._sample(host, due), name=f"dirty-rate-{host}")
            self._sampling[host] = task
            task.add_done_callback(lambda _: self._sampling.pop(host, None))

    def forget(self, host: str) -> None:
        """The host came back or went away: it may have another QEMU now."""
        self._unable.discard(host)

    async def close(self) -> None:
        """End what is being sampled."""
        await end(*self._sampling.values())

    async def _sample(self, host: str, uuid: str) -> None:
        try:
            if await self._cluster.job(host, uuid) is None:
                rate = await self._cluster.sample_dirty_rate(host, uuid)
                self._demand.record_dirtying(uuid, self._clock.monotonic(), rate)
        except RefusedError as error:
            # Most often a QEMU or libvirt that is too old: then it is so for all its VMs.
            self._unable.add(host)
            log.info("the host cannot tell how fast guests write memory", host=host, error=error.text)
        except HypervisorError as error:
            log.debug("how fast a guest writes memory is not known", host=host, vm=uuid, error=error.text)
