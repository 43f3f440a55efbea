"""A live migration in memory: copies in passes until little enough is left, like QEMU's pre-copy."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

from ..cluster.ports import Job, MigrationOptions
from .host import Domain

MIB = 1024 * 1024
SETUP_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Burden:
    """What migrations take besides time, and how they fail."""

    host_cores: float = 0.0
    """CPU of each of the two hosts, while it runs."""
    guest_ratio: float = 0.0
    """Part of its CPU that the guest loses meanwhile."""
    breaks_at: Callable[[], float | None] = lambda: None
    """Asked for each migration: after which part of the memory it breaks off. None: it does not."""
    bandwidth_factor: Callable[[], float] = lambda: 1.0
    """Asked for each migration: how many times as fast as the link promises it gets on."""
    sampling_factor: Callable[[], float] = lambda: 1.0
    """Asked for each look at what a guest writes: how many times the truth it shows."""


@dataclass(slots=True)
class Transfer:
    """One running migration and its figures. Bandwidth in MiB/s."""

    uuid: str
    source: str
    destination: str
    options: MigrationOptions
    memory_mib: float
    dirty_mib_per_s: float
    bandwidth_mib_per_s: float
    started_s: float
    ended: asyncio.Future[None]
    """Its result is what the call returns or raises."""
    iteration: int = 0
    remaining_mib: float = 0.0
    processed_mib: float = 0.0
    pass_started_s: float = 0.0
    task: asyncio.Task[None] | None = None
    cancelled_because: str = ""
    max_downtime_ms: int = 0
    """As last set; that of the options at first."""
    post_copy: bool = False

    def __post_init__(self) -> None:
        self.max_downtime_ms = self.max_downtime_ms or self.options.max_downtime_ms

    @classmethod
    def of(
        cls, domain: Domain, source: str, destination: str, options: MigrationOptions, bandwidth: float, now_s: float
    ) -> Self:
        """The migration of a domain as it is now; `bandwidth` in MiB/s. To be called on the loop."""
        return cls(
            uuid=domain.uuid,
            source=source,
            destination=destination,
            options=options,
            memory_mib=domain.memory_used_mib,
            dirty_mib_per_s=domain.guest.dirty_mib_per_s,
            bandwidth_mib_per_s=bandwidth,
            started_s=now_s,
            ended=asyncio.get_running_loop().create_future(),
        )

    @property
    def downtime_ms(self) -> int:
        """What stopping the guest now would take."""
        return int(self.remaining_mib / self.bandwidth_mib_per_s * 1000.0)

    def cancel(self, why: str) -> None:
        """Break it off; the guest stays on its source."""
        self.cancelled_because = why
        if self.task is not None:
            self.task.cancel()

    async def copy(
        self,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        on_pass: Callable[[int], None],
        breaks_at: float | None,
    ) -> None:
        """Pass after pass, until what is left fits into the downtime; ConnectionError at the part `breaks_at`."""
        await sleep(SETUP_SECONDS)
        self.remaining_mib = self.memory_mib
        while True:
            self.iteration += 1
            self.pass_started_s = now()
            on_pass(self.iteration)
            seconds = self.remaining_mib / self.bandwidth_mib_per_s
            if breaks_at is not None:
                await sleep(seconds * breaks_at)
                raise ConnectionError("migration stream broke off")
            await sleep(seconds)
            self.processed_mib += self.remaining_mib
            self.remaining_mib = min(self.dirty_mib_per_s * seconds, self.memory_mib)
            if self.post_copy or self.downtime_ms <= self.max_downtime_ms:
                await sleep(self.downtime_ms / 1000.0)
                self.processed_mib += self.remaining_mib
                return

    def job(self, now_s: float, *, outgoing: bool) -> Job:
        """The figures that the hypervisor would show now."""
        sent_mib = min((now_s - self.pass_started_s) * self.bandwidth_mib_per_s, self.remaining_mib)
        if self.iteration == 0:
            sent_mib = 0.0
        return Job(
            elapsed_ms=int((now_s - self.started_s) * 1000),
            total_bytes=int(self.memory_mib * MIB),
            processed_bytes=int((self.processed_mib + sent_mib) * MIB),
            remaining_bytes=int((self.remaining_mib - sent_mib if self.iteration else self.memory_mib) * MIB),
            dirty_mib_per_s=self.dirty_mib_per_s,
            bandwidth_mib_per_s=self.bandwidth_mib_per_s,
            iteration=self.iteration,
            downtime_ms=self.max_downtime_ms,
            outgoing=outgoing,
            post_copy=self.post_copy,
        )

    def statistics(self, now_s: float, *, success: bool) -> dict[str, int | float | str]:
        """The final statistics, by libvirt's names."""
        processed = int(self.processed_mib * MIB)
        return {
            "operation": 5,
            "success": int(success),
            "time_elapsed": int((now_s - self.started_s) * 1000),
            "downtime": self.downtime_ms,
            "data_total": int(self.memory_mib * MIB),
            "data_processed": processed,
            "memory_processed": processed,
            "memory_bps": int(self.bandwidth_mib_per_s * MIB),
            "memory_iteration": self.iteration,
        }
