"""A real Prometheus scrapes the daemon on real hosts, and knows of its migrations what the daemon's journal does."""

from pathlib import Path

import pytest

from scheduler.lab.guest import GuestSpec
from scheduler.lab.lab import Lab
from tests.lab.conftest import StartDaemon
from tests.lab.running_daemon import run_guests, until
from tests.operations.prometheus_server import PROMETHEUS, WHY_NOT, scraping

pytestmark = [pytest.mark.lab, pytest.mark.skipif(PROMETHEUS is None, reason=WHY_NOT)]

COMPLETED = '{trigger="manual", outcome="completed"}'


def test_prometheus_returns_the_duration_of_a_real_migration(
    quick_lab: Lab, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    daemon = start_daemon()
    with scraping(daemon.metrics_address, tmp_path) as prometheus:
        run_guests(quick_lab, "node1", [GuestSpec("vm1")])
        until(lambda: daemon.sees("vm1", "running", "node1"), "the daemon sees it")
        until(lambda: prometheus.value("sum(virt_scheduler_host_up)") == 3, "all hosts are up")
        assert prometheus.value("virt_scheduler_leader") == 1
        assert prometheus.value(f"virt_scheduler_migration_duration_seconds_count{COMPLETED}") == 0

        assert daemon.run("migrate", "vm1", "--to", "node2").exit_code == 0
        [record] = daemon.migrations()
        took_seconds = record["duration_seconds"]
        count = f"virt_scheduler_migration_duration_seconds_count{COMPLETED}"
        until(lambda: prometheus.value(count) == 1, "the migration is scraped")
        total = prometheus.value(f"virt_scheduler_migration_duration_seconds_sum{COMPLETED}")
        assert total == pytest.approx(took_seconds, abs=0.01)
        stood_still = prometheus.value("virt_scheduler_migration_downtime_seconds_sum")
        assert stood_still == pytest.approx(record["downtime_ms"] / 1000, abs=0.001)
        assert prometheus.value('virt_scheduler_host_vms_running{host="node2"}') == 1
        p95 = until(lambda: prometheus.value("job:virt_scheduler_migration_duration_seconds:p95_1d"), "it is recorded")
        assert 0 < p95 <= 2 * max(took_seconds, 0.5)  # no bucket is wider
        hourly = 'sum(job:virt_scheduler_migrations:increase1h{outcome="completed"})'
        until(lambda: prometheus.value(hourly) == 1, "the first of a kind counts, too")
        assert prometheus.query('ALERTS{alertstate="firing"}') == []
