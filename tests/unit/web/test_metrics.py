from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from scheduler.cluster.model import VmState
from scheduler.cluster.observation import EventKind
from scheduler.cluster.reason import Reason
from scheduler.operations.records import MigrationState, PlacementOutcome, Progress, Trigger
from scheduler.operations.settings import Mode
from scheduler.planner.plan import Unmoved
from scheduler.planner.standing import Standing
from scheduler.web.catalogue import CATALOGUE
from scheduler.web.metrics import Metrics

from .memory import SHORT, MemoryControl, migration_record
from .observed import busy_metrics, placement

BALANCED = {"trigger": "balance", "outcome": "completed"}
GOLDEN = Path(__file__).with_name("metrics.golden")


@pytest.fixture
def metrics(control: MemoryControl) -> Metrics:
    metrics = Metrics(control.snapshot, control.hosts, clock=lambda: 1000.0)
    metrics.hosts_configured(["node1", "node2"])
    return metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Of one sample, without the prefix; None when there is no such series."""
    return metrics.registry.get_sample_value(f"virt_scheduler_{name}", labels)


def test_catalogue_is_the_golden_one() -> None:
    lines = [f"{family.name}{{{','.join(family.labels)}}} {family.kind}" for family in CATALOGUE]
    assert lines == GOLDEN.read_text().splitlines()


def test_scrape_holds_exactly_the_catalogue(control: MemoryControl) -> None:
    text = generate_latest(busy_metrics(control).registry).decode()
    scraped = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        scraped[name] = (family.type, labels, family.documentation)
    assert scraped == {family.name: (family.kind, set(family.labels), family.help) for family in CATALOGUE}


def test_completed_migration_is_measured_whole(metrics: Metrics) -> None:
    metrics.migration_ended(
        migration_record(predicted_seconds=10.0, duration_seconds=8.0, downtime_ms=120, predicted_downtime_ms=200)
    )
    labels = {"trigger": "balance", "outcome": "completed"}
    assert value(metrics, "migrations_total", source="node1", destination="node2", **labels) == 1
    assert value(metrics, "migration_duration_seconds_sum", **labels) == 8.0
    assert value(metrics, "migration_duration_seconds_bucket", le="8.0", **labels) == 1
    assert value(metrics, "migration_duration_seconds_bucket", le="4.0", **labels) == 0
    assert value(metrics, "migration_downtime_seconds_sum") == 0.12
    assert value(metrics, "migration_prediction_error_ratio_sum") == 0.25
    assert value(metrics, "migration_duration_to_prediction_ratio_sum") == 0.8
    assert value(metrics, "migration_downtime_to_prediction_ratio_sum") == 0.6
    assert value(metrics, "migration_transferred_bytes_total") == 512 * 1024 * 1024


def test_prediction_that_was_too_short_is_an_error_too(metrics: Metrics) -> None:
    metrics.migration_ended(migration_record(predicted_seconds=4.0, duration_seconds=8.0))
    assert value(metrics, "migration_prediction_error_ratio_sum") == 0.5
    assert value(metrics, "migration_duration_to_prediction_ratio_sum") == 2.0


def test_unknown_downtime_is_not_observed(metrics: Metrics) -> None:
    metrics.migration_ended(migration_record(downtime_ms=None, predicted_seconds=None, transferred_bytes=None))
    assert value(metrics, "migration_downtime_seconds_count") == 0
    assert value(metrics, "migration_prediction_error_ratio_count") == 0
    assert value(metrics, "migration_transferred_bytes_total") == 0


@pytest.mark.parametrize("state", [MigrationState.FAILED, MigrationState.ABORTED, MigrationState.UNKNOWN])
def test_migration_that_did_not_complete_has_a_duration_only(metrics: Metrics, state: MigrationState) -> None:
    metrics.migration_ended(
        migration_record(state=state, trigger=Trigger.DRAIN, duration_seconds=None, started_at=100.0, ended_at=103.5)
    )
    assert value(metrics, "migration_duration_seconds_sum", trigger="drain", outcome=state.value) == 3.5
    assert value(metrics, "migration_downtime_seconds_count") == 0
    assert value(metrics, "migration_prediction_error_ratio_count") == 0


def test_migration_that_was_never_begun_is_refused_and_has_no_duration(metrics: Metrics) -> None:
    metrics.migration_ended(
        migration_record(state=MigrationState.FAILED, started_at=None, duration_seconds=None, trigger=Trigger.MANUAL)
    )
    labels = {"trigger": "manual", "outcome": "refused"}
    assert value(metrics, "migrations_total", source="node1", destination="node2", **labels) == 1
    assert value(metrics, "migration_duration_seconds_count", **labels) is None


def test_placements_start_at_zero_and_count_by_outcome(metrics: Metrics) -> None:
    assert value(metrics, "placements_total", outcome="refused") == 0
    metrics.placement_ended(placement(PlacementOutcome.REFUSED))
    assert value(metrics, "placements_total", outcome="refused") == 1
    assert value(metrics, "placements_total", outcome="started") == 0


def test_rejections_count_by_code(metrics: Metrics) -> None:
    metrics.rejected([SHORT, SHORT])
    assert value(metrics, "rejections_total", filter="memory_short") == 2


def test_failed_cycle_does_not_move_the_last_success(metrics: Metrics) -> None:
    metrics.cycle_ended(0.3, ok=False)
    assert value(metrics, "cycle_last_success_timestamp_seconds") == 0
    metrics.cycle_ended(0.2, ok=True)
    assert value(metrics, "cycle_last_success_timestamp_seconds") == 1000.0
    assert value(metrics, "cycle_duration_seconds_sum") == 0.5
    assert value(metrics, "cycles_total", outcome="error") == 1


def test_refused_reload_keeps_the_time_of_the_configuration_in_force(control: MemoryControl) -> None:
    times = iter([1000.0])
    metrics = Metrics(control.snapshot, control.hosts, clock=lambda: next(times))
    metrics.config_reloaded(ok=True)
    metrics.config_reloaded(ok=False)
    assert value(metrics, "config_last_reload_successful") == 0
    assert value(metrics, "config_last_reload_success_timestamp_seconds") == 1000.0


def test_one_mode_is_in_force(metrics: Metrics) -> None:
    metrics.mode_set(Mode.AUTO)
    metrics.mode_set(Mode.OBSERVE)
    assert [value(metrics, "mode_info", mode=mode.value) for mode in Mode] == [1, 0, 0]


def test_hosts_are_read_at_every_scrape(metrics: Metrics) -> None:
    assert value(metrics, "host_up", host="node1") == 1
    assert value(metrics, "host_up", host="node2") == 1
    assert value(metrics, "host_maintenance", host="node2") == 1
    assert value(metrics, "host_stale", host="node2") == 1
    assert value(metrics, "host_cpu_usage_ratio", host="node1") == 0.75
    assert value(metrics, "host_memory_free_bytes", host="node1") == 10 * 1024**3
    assert value(metrics, "migrations_in_flight", host="node1", direction="outbound") == 1
    assert value(metrics, "migrations_in_flight", host="node2", direction="inbound") == 1
    assert value(metrics, "host_info", host="node1", cpu_model="Haswell") == 1


def test_what_is_unknown_of_a_host_makes_no_series(metrics: Metrics) -> None:
    assert value(metrics, "host_cpu_usage_ratio", host="node2") is None
    assert value(metrics, "host_memory_capacity_bytes", host="node2") is None


def test_unreachable_host_is_down(control: MemoryControl) -> None:
    hosts = [replace(host, state="unreachable") for host in control.hosts()]
    metrics = Metrics(control.snapshot, lambda: hosts)
    assert value(metrics, "host_up", host="node1") == 0


def test_vanished_host_leaves_no_series_not_even_when_something_of_it_ends_later(control: MemoryControl) -> None:
    hosts = control.hosts()
    metrics = Metrics(control.snapshot, lambda: hosts)
    metrics.hosts_configured(["node1", "node2"])
    both = Standing(homeless={"node1": 0, "node2": 1}, misplaced={"pinned": 0})
    stuck = [Unmoved(vm=host, host=host, reasons=(SHORT,)) for host in ("node1", "node2")]
    for vanished in (False, True):
        if vanished:
            control.cluster = replace(control.cluster, hosts=control.cluster.hosts[:1])
            del hosts[1:]
            metrics.hosts_configured(["node1"])
            assert "node2" not in generate_latest(metrics.registry).decode()
        metrics.libvirt_event("node1", EventKind.STARTED)
        metrics.libvirt_event("node2", EventKind.STARTED)
        metrics.reconnected("node2")
        metrics.migration_ended(migration_record())
        metrics.stands(both)
        metrics.unmoved(stuck)
        assert ("node2" in generate_latest(metrics.registry).decode()) is not vanished
    text = generate_latest(metrics.registry).decode()
    assert 'virt_scheduler_libvirt_events_total{event="started",host="node1"} 2.0' in text
    assert value(metrics, "migrations_total", source="node1", destination="other", **BALANCED) == 1
    assert value(metrics, "migration_duration_seconds_count", **BALANCED) == 2


def test_vanished_vm_leaves_nothing_behind(control: MemoryControl, metrics: Metrics) -> None:
    cluster = control.cluster
    control.cluster = replace(
        cluster, vms=(replace(cluster.vms[0], quarantine="active on two hosts"), *cluster.vms[1:])
    )
    metrics.unmoved([Unmoved(vm="web1", host="node1", reasons=(SHORT,))])
    metrics.stands(Standing(homeless={"node1": 1, "node2": 0}, misplaced={"pinned": 1}))
    assert value(metrics, "vms_quarantined") == 1
    control.cluster = replace(cluster, vms=())
    metrics.unmoved([])
    metrics.stands(Standing(homeless={"node1": 0, "node2": 0}, misplaced={"pinned": 0}))
    assert value(metrics, "vms_quarantined") == 0
    assert value(metrics, "vms_unmoved", host="node1", reason="memory_short") is None
    assert value(metrics, "host_loss_homeless_vms", host="node1") == 0
    assert value(metrics, "vms_misplaced", rule="pinned") == 0
    assert value(metrics, "vms", state="running") == 0
    assert "web1" not in generate_latest(metrics.registry).decode()


def test_vms_that_stay_where_they_should_not_are_counted_by_host_and_reason(metrics: Metrics) -> None:
    pinned = Reason("pinned", "pinned to node1")
    metrics.unmoved(
        [
            Unmoved(vm="web1", host="node1", reasons=(SHORT, SHORT, pinned)),
            Unmoved(vm="web2", host="node1", reasons=(SHORT,)),
            Unmoved(vm="db1", host="node2", reasons=(pinned,)),
        ]
    )
    assert value(metrics, "vms_unmoved", host="node1", reason="memory_short") == 2
    assert value(metrics, "vms_unmoved", host="node1", reason="pinned") == 1
    assert value(metrics, "vms_unmoved", host="node2", reason="pinned") == 1


def test_what_is_not_known_of_how_the_cluster_stands_has_no_series(metrics: Metrics) -> None:
    metrics.stands(Standing(homeless={"node1": 1, "node2": 0}, misplaced={"pinned": 1}))
    metrics.stands(None)
    assert value(metrics, "host_loss_homeless_vms", host="node1") is None
    assert value(metrics, "vms_misplaced", rule="pinned") is None


def test_the_longest_migration_under_way_is_told(control: MemoryControl) -> None:
    running = [
        migration_record(state=MigrationState.QUEUED, started_at=None),
        migration_record(state=MigrationState.MIGRATING, started_at=940.0),
        migration_record(state=MigrationState.MIGRATING, started_at=970.0),
    ]
    metrics = Metrics(control.snapshot, control.hosts, lambda: running, clock=lambda: 1000.0)
    assert value(metrics, "migrations_in_flight_longest_seconds") == 60
    running.clear()
    assert value(metrics, "migrations_in_flight_longest_seconds") == 0


def test_progress_is_told_by_pair_while_it_lasts(control: MemoryControl) -> None:
    first = Progress(
        transferred_bytes=10, remaining_bytes=90, iteration=1, dirty_bytes_per_second=5.0, expected_end_at=2000.0
    )
    second = Progress(transferred_bytes=20, remaining_bytes=30, iteration=4)
    running = [migration_record(progress=first), migration_record(progress=second), migration_record(progress=None)]
    metrics = Metrics(control.snapshot, control.hosts, lambda: running, clock=lambda: 1000.0)
    pair = {"source": "node1", "destination": "node2"}
    assert value(metrics, "migrations_in_flight_transferred_bytes", **pair) == 30
    assert value(metrics, "migrations_in_flight_remaining_bytes", **pair) == 120
    assert value(metrics, "migrations_in_flight_dirty_bytes_per_second", **pair) == 5
    # When both have ended nobody can tell as long as it is unknown of one.
    assert value(metrics, "migrations_in_flight_expected_end_timestamp_seconds", **pair) is None
    running.pop(1)
    assert value(metrics, "migrations_in_flight_iterations", **pair) == 1
    assert value(metrics, "migrations_in_flight_expected_end_timestamp_seconds", **pair) == 2000
    running.clear()
    assert value(metrics, "migrations_in_flight_remaining_bytes", **pair) is None


def test_a_migration_to_a_host_that_nobody_configured_makes_no_series_of_its_own(metrics: Metrics) -> None:
    for stranger in ("elsewhere1", "elsewhere2"):
        metrics.migration_ended(migration_record(destination=stranger))
    metrics.migration_ended(migration_record(destination=""))
    assert value(metrics, "migrations_total", source="node1", destination="other", **BALANCED) == 2
    assert value(metrics, "migrations_total", source="node1", destination="", **BALANCED) == 1


def test_waiting_vms_are_counted_as_they_are_now(control: MemoryControl, metrics: Metrics) -> None:
    assert value(metrics, "vm_cpu_wait_ratio_count") == 2
    assert value(metrics, "vm_cpu_wait_ratio_bucket", le="0.005") == 1
    assert value(metrics, "vm_cpu_wait_ratio_bucket", le="0.1") == 1
    assert value(metrics, "vm_cpu_wait_ratio_bucket", le="0.2") == 2
    assert value(metrics, "vm_cpu_wait_ratio_sum") == pytest.approx(0.204)
    control.cluster = replace(control.cluster, vms=control.cluster.vms[1:])
    assert value(metrics, "vm_cpu_wait_ratio_bucket", le="+Inf") == 1
    assert value(metrics, "vms", state=VmState.STOPPED.value) == 1


def test_nothing_is_told_of_a_cluster_not_yet_seen() -> None:
    metrics = Metrics(lambda: None, list)
    assert value(metrics, "vm_cpu_wait_ratio_count") is None
    assert value(metrics, "snapshot_timestamp_seconds") is None


def test_no_creation_times_are_exposed(control: MemoryControl) -> None:
    assert "_created" not in generate_latest(busy_metrics(control).registry).decode()


def test_two_daemons_in_one_process_do_not_share_metrics(control: MemoryControl) -> None:
    first, second = (Metrics(control.snapshot, control.hosts) for _ in range(2))
    first.cycle_ended(0.1, ok=True)
    assert value(second, "cycle_duration_seconds_count") == 0
