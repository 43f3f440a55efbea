"""How far a migration is, from the hypervisor's job figures and its final statistics. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..cluster.ports import Job
from .records import Progress

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FinalFigures:
    """What the hypervisor says of a migration that has ended; None: it does not say."""

    downtime_ms: int | None = None
    transferred_bytes: int | None = None
    transfer_seconds: float | None = None
    """How long memory was being sent: without connecting, starting the receiver and what comes after."""


def ratio(job: Job, before: float | None) -> float | None:
    """Part of the memory that is across, 0..1, never less than `before`; None when the hypervisor does not tell.

    Guests write memory again while it is copied, so what remains rises at each iteration: shown as a standstill.
    """
    if not job.total_bytes or job.remaining_bytes is None:
        return before
    across = 1.0 - job.remaining_bytes / job.total_bytes
    return max(min(across, 1.0), before or 0.0)


def progress(job: Job, now: float) -> Progress:
    """A running job's figures at `now`, in Unix seconds.

    What remains is carried over in r / (b - d): r / b for itself, then what was written meanwhile at rate d, and so on,
    a geometric series in d / b.
    """
    remaining, bandwidth, dirty = job.remaining_bytes, job.bandwidth_mib_per_s, job.dirty_mib_per_s
    expected_end_at = None
    if remaining is not None and bandwidth is not None and bandwidth > (dirty or 0.0):
        expected_end_at = now + remaining / MIB / (bandwidth - (dirty or 0.0))
    return Progress(
        transferred_bytes=job.processed_bytes,
        remaining_bytes=remaining,
        iteration=job.iteration,
        dirty_bytes_per_second=None if dirty is None else dirty * MIB,
        expected_end_at=expected_end_at,
    )


def final_figures(stats: Mapping[str, int | float | str]) -> FinalFigures:
    """Read the statistics of a JOB_COMPLETED event (libvirt's field names)."""
    downtime_ms = _number(stats, "downtime")
    transferred = _number(stats, "data_processed")
    # Of a migration that has ended, the mean over all of it.
    bytes_per_s = _number(stats, "memory_bps")
    return FinalFigures(
        downtime_ms=None if downtime_ms is None else int(downtime_ms),
        transferred_bytes=None if transferred is None else int(transferred),
        transfer_seconds=transferred / bytes_per_s if transferred and bytes_per_s else None,
    )


def _number(stats: Mapping[str, int | float | str], name: str) -> float | None:
    value = stats.get(name)
    return value if isinstance(value, int | float) else None
