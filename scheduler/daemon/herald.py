"""Tells what happened: to the metrics, to whoever listens to the event stream, and to the log. Decides nothing."""

import structlog

from ..cluster.observation import Event, EventKind
from ..operations.records import Decision, MigrationRecord, MigrationState, PlacementRecord, Progress
from ..planner.plan import Unmoved
from ..planner.standing import Standing
from ..web.metrics import Metrics
from .notices import Notices

MIB = 1024 * 1024

log = structlog.get_logger(__name__)


class Herald:
    """Each method is one kind of news."""

    def __init__(self, metrics: Metrics, notices: Notices) -> None:
        self._metrics = metrics
        self._notices = notices
        self._told: dict[int, MigrationState] = {}
        self._stage: dict[int, tuple[int, int]] = {}
        self._lost: set[str] = set()

    def event(self, event: Event) -> None:
        """A hypervisor told something."""
        self._metrics.libvirt_event(event.host, event.kind)
        if event.uuid and event.kind is not EventKind.MIGRATION_ITERATION:
            what = event.kind.value.replace("_", " ")
            text = f"{event.name or event.uuid} on {event.host}: {what}"
            self._notices.publish("domain", text, host=event.host, vm=event.name, uuid=event.uuid, event=event.kind)

    def host(self, name: str, *, reachable: bool, detail: str) -> None:
        """A host was lost, or answers."""
        if reachable:
            log.info("host answers", host=name)
            if name in self._lost:
                self._metrics.reconnected(name)
            self._lost.discard(name)
        else:
            log.warning("host unreachable", host=name, detail=detail)
            self._lost.add(name)
        text = f"{name} answers" if reachable else f"{name} is unreachable: {detail}"
        self._notices.publish("host", text, host=name, reachable=reachable)

    def moved_by_others(self, vm: str, source: str, destination: str) -> None:
        """A VM runs elsewhere, and it was not us."""
        log.info("moved by somebody else, stays there for a while", vm=vm, source=source, destination=destination)
        text = f"{vm}: moved from {source} to {destination} by somebody else"
        self._notices.publish("domain", text, vm=vm, source=source, destination=destination)

    def migration(self, record: MigrationRecord) -> None:
        """A migration has a new state, or has come further."""
        if record.state is self._told.get(record.id):
            self._progress(record)
            return
        self._told[record.id] = record.state
        level = log.warning if record.state in {MigrationState.FAILED, MigrationState.UNKNOWN} else log.info
        level(
            "migration",
            id=record.id,
            state=record.state.value,
            vm=record.vm,
            source=record.source,
            destination=record.destination,
            trigger=record.trigger.value,
            **_figures(record),
        )
        text = f"{record.vm} {record.source} -> {record.destination}: {record.state}" + (
            f": {record.error}" if record.error else ""
        )
        self._notices.publish("migration", text, id=record.id, vm=record.vm, state=record.state, **_figures(record))
        if record.state.final:
            del self._told[record.id]
            self._stage.pop(record.id, None)
            self._metrics.migration_ended(record)

    def _progress(self, record: MigrationRecord) -> None:
        """It has come further: told at each tenth and at each doubling of iterations, so some twenty times at most."""
        progress = record.progress
        if progress is None or record.state is not MigrationState.MIGRATING:
            return
        stage = int((record.progress_ratio or 0.0) * 10), (progress.iteration or 0).bit_length()
        if stage == self._stage.get(record.id):
            return
        self._stage[record.id] = stage
        text = f"{record.vm} {record.source} -> {record.destination}: {_so_far(record.progress_ratio, progress)}"
        self._notices.publish("progress", text, id=record.id, vm=record.vm, progress=progress)

    def placement(self, record: PlacementRecord) -> None:
        """A placement has ended."""
        log.info("placement", outcome=record.outcome.value, vm=record.vm, host=record.host, reason=record.reason)
        self._notices.publish("placement", f"{record.vm}: {record.reason}", vm=record.vm, outcome=record.outcome)
        self._metrics.placement_ended(record)

    def cycle(self, decision: Decision, seconds: float, *, unmoved: tuple[Unmoved, ...], ok: bool, news: bool) -> None:
        """A cycle has ended; `news` when it says something else than the one before."""
        self._metrics.cycle_ended(seconds, ok=ok)
        self._metrics.unmoved(unmoved)
        if ok:
            self._metrics.decided(decision)
        (log.info if news else log.debug)(decision.sentence, kind=decision.kind, seconds=round(seconds, 3))
        if news:
            self._notices.publish("decision", decision.sentence, cycle=decision.cycle, decision=decision.kind)

    def standing(self, standing: Standing | None) -> None:
        """How the cluster stands; None when that is not known."""
        self._metrics.stands(standing)


def _so_far(ratio: float | None, progress: Progress) -> str:
    told = [
        None if ratio is None else f"{ratio:.0%} is across",
        None if progress.remaining_bytes is None else f"{progress.remaining_bytes / MIB:,.0f} MiB remain",
        None if progress.iteration is None else f"iteration {progress.iteration}",
        None
        if progress.dirty_bytes_per_second is None
        else f"{progress.dirty_bytes_per_second / MIB:,.0f} MiB/s are written again",
    ]
    return ", ".join(filter(None, told)) or "under way"


def _figures(record: MigrationRecord) -> dict[str, object]:
    figures = {
        "error": record.error,
        "seconds": None if record.duration_seconds is None else round(record.duration_seconds, 2),
        "downtime_ms": record.downtime_ms,
        "transferred_bytes": record.transferred_bytes,
        "predicted_seconds": None if record.predicted_seconds is None else round(record.predicted_seconds, 2),
        "predicted_downtime_ms": record.predicted_downtime_ms,
        "predicted_bytes": record.predicted_bytes,
    }
    return {name: value for name, value in figures.items() if value not in {None, ""}}
