"""Metrics of a daemon that has done everything at least once, for tests that need every series."""

from scheduler.cluster.observation import EventKind
from scheduler.operations.records import (
    Decision,
    MigrationState,
    PlacementOutcome,
    PlacementRecord,
    Progress,
    Trigger,
)
from scheduler.operations.settings import Mode
from scheduler.planner.plan import Unmoved
from scheduler.planner.standing import Standing
from scheduler.web.metrics import Metrics

from .memory import SHORT, MemoryControl, migration_record


def busy_metrics(control: MemoryControl, metrics: Metrics | None = None) -> Metrics:
    """All families have samples; or all that happened happens once more in `metrics`."""
    if metrics is None:
        progress = Progress(
            transferred_bytes=1, remaining_bytes=2, iteration=1, dirty_bytes_per_second=0.5, expected_end_at=1010.0
        )
        running = [migration_record(state=MigrationState.MIGRATING, started_at=940.0, progress=progress)]
        metrics = Metrics(control.snapshot, control.hosts, lambda: running, clock=lambda: 1000.0)
    metrics.hosts_configured(["node1", "node2"])
    metrics.leads(leads=True)
    metrics.migration_ended(migration_record())
    metrics.migration_ended(migration_record(state=MigrationState.ABORTED, trigger=Trigger.MANUAL))
    metrics.placement_ended(placement(PlacementOutcome.STARTED))
    metrics.rejected([SHORT])
    metrics.decided(Decision(cycle="c1", at=1.0, sentence="nothing to do", kind="quiet"))
    metrics.unmoved([Unmoved(vm="web1", host="node1", reasons=(SHORT,))])
    metrics.stands(Standing(homeless={"node1": 1, "node2": 0}, misplaced={"pinned": 0}))
    metrics.cycle_ended(0.2, ok=True)
    metrics.libvirt_event("node1", EventKind.STARTED)
    metrics.reconnected("node1")
    metrics.config_reloaded(ok=True)
    metrics.mode_set(Mode.AUTO)
    metrics.reservations_held(1)
    metrics.recommendations_pending(2)
    return metrics


def placement(outcome: PlacementOutcome) -> PlacementRecord:
    """A placement that ended so."""
    return PlacementRecord(id=1, vm="web1", uuid="u-1", outcome=outcome, trigger=Trigger.MANUAL, at=1.0)
