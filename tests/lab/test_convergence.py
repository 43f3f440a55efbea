"""Guests on real hosts that write memory faster than it is carried over."""

import pytest

from scheduler.lab.guest import GuestSpec
from scheduler.lab.lab import Lab
from tests.lab.conftest import StartDaemon
from tests.lab.running_daemon import FAST, definitions, run_guests, running_on, until
from tests.soak.guests import Guest, boot_id

pytestmark = pytest.mark.lab

# Twice what the link carries; a look at its downtime of 1 ms never lets it end by chance.
TOO_FAST = GuestSpec("vm1", dirty_mib_per_s=32)
TABLES = '[migration]\nbandwidth = "16MiB/s"\nmax_downtime = "1ms"\ndowntime_limit = "1ms"\n'


def test_post_copy_ends_a_migration_without_progress(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    classes = '[[migration_classes]]\nvms = ["vm*"]\npost_copy = true\n'
    daemon = start_daemon(FAST, TABLES + classes)
    run_guests(quick_lab, "node1", [TOO_FAST])
    guest = Guest("vm1", "node1")
    boot = until(lambda: boot_id(quick_lab, guest), "it answers")
    until(lambda: daemon.sees("vm1", "running", "node1"), "it runs")
    assert daemon.run("migrate", "vm1", "--to", "node2", "--no-wait").exit_code == 0
    until(lambda: "goes on as post-copy" in daemon.log.read_text(), "it stalls", seconds=90)
    until(lambda: daemon.migration_of("vm1", state="completed"), "it ends", seconds=60)
    assert definitions(quick_lab, "vm1") == running_on(quick_lab, "vm1") == ["node2"]
    assert until(lambda: boot_id(quick_lab, guest), "it answers") == boot
