"""Whether a running migration comes to an end, and what helps it to: the steps, in order, as data. Pure.

A guest that writes memory faster than it is carried over keeps a migration going for ever. What remains rises at the
start of every pass over the memory and falls during it, so single samples say nothing: the lowest of each pass is
compared with the lowest of all passes before, as kubevirt and vdsm do.
"""

from dataclasses import dataclass
from enum import StrEnum

from ..cluster.ports import Job
from .settings import MigrationSettings

PROGRESS_RATIO = 0.04
"""By so much a pass must end lower than every one before it."""
_WIDER = 2


class Action(StrEnum):
    """What can be done for a migration that makes no progress."""

    WIDEN_DOWNTIME = "widen_downtime"
    """Let the guest stand still for longer at the end."""
    POST_COPY = "post_copy"
    """Let it run on the destination before its memory is there."""
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do after so many passes, and at least so long, without progress: a pass over little is short."""

    action: Action
    passes: int = 3
    seconds: float = 10.0
    downtime_ms: int = 0
    """The new limit of WIDEN_DOWNTIME."""

    def __str__(self) -> str:
        """For people."""
        if self.action is Action.WIDEN_DOWNTIME:
            return f"its downtime may be {self.downtime_ms} ms"
        return "it goes on as post-copy" if self.action is Action.POST_COPY else "it is aborted"


def steps(settings: MigrationSettings) -> tuple[Step, ...]:
    """What these settings allow, mildest first.

    Where it may, QEMU throttles the guest by itself, harder every other pass, up to 16 times: that is waited for.
    """
    found = []
    passes = 20 if settings.auto_converge else 3
    downtime_ms = max(settings.max_downtime_ms, 1)
    while downtime_ms < settings.downtime_limit_ms:
        downtime_ms = min(downtime_ms * _WIDER, settings.downtime_limit_ms)
        found.append(Step(Action.WIDEN_DOWNTIME, downtime_ms=downtime_ms))
    if settings.post_copy:
        found.append(Step(Action.POST_COPY, passes))
    elif settings.abort_stalled:
        found.append(Step(Action.ABORT, max(passes, 10), seconds=60.0))
    return tuple(found)


class Convergence:
    """Follows one migration, and says what to do when it stalls."""

    def __init__(self, to_take: tuple[Step, ...]) -> None:
        self._to_take = list(to_take)
        self._pass: int | None = None
        self._lowest = 0
        """Bytes that remained, at the lowest of this pass."""
        self._best: int | None = None
        """At the lowest of all passes before."""
        self._stalled_passes = 0
        self._stalled_since_s = 0.0

    def note(self, job: Job, now_s: float) -> Step | None:
        """Take in how far it is; returns the step to take now."""
        if job.iteration is None or job.remaining_bytes is None or job.post_copy:
            return None
        if job.iteration == self._pass:
            self._lowest = min(self._lowest, job.remaining_bytes)
            return None
        if self._pass is not None:
            self._end_passes(job.iteration - self._pass, now_s)
        self._pass, self._lowest = job.iteration, job.remaining_bytes
        if not self._to_take or self._stalled_passes < self._to_take[0].passes:
            return None
        if now_s - self._stalled_since_s < self._to_take[0].seconds:
            return None
        self._stalled_passes, self._stalled_since_s = 0, now_s
        return self._to_take.pop(0)

    def _end_passes(self, count: int, now_s: float) -> None:
        if self._best is None or self._lowest < self._best * (1 - PROGRESS_RATIO):
            self._best = self._lowest
            self._stalled_passes, self._stalled_since_s = 0, now_s
        else:
            self._stalled_passes += count
