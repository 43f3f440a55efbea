"""What anyone does on the hosts is seen by the daemon at once, told by events, and so is a host that is lost."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from scheduler.lab.guest import GuestSpec
from scheduler.lab.lab import Lab
from tests.lab.conftest import StartDaemon
from tests.lab.running_daemon import FAST, RunningDaemon, define, ended, migrate_by_hand, start, until

pytestmark = pytest.mark.lab

RARELY = 'sample_interval = "30s"\n'
"""So rarely that what is seen soon was told by an event."""
SOON_S = 10.0
"""On an idle machine it takes half a second; a busy one must not fail the tests. A hung host would delay others by as
much."""


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> RunningDaemon:
    return start_daemon(RARELY)


def seen_soon(look: Callable[[], object], what: str) -> None:
    until(look, what, seconds=SOON_S)


def test_what_anyone_does_is_told_by_events(quick_lab: Lab, daemon: RunningDaemon) -> None:
    define(quick_lab, "node1", GuestSpec("vm1"))
    seen_soon(lambda: daemon.sees("vm1", "stopped", "node1"), "defined")
    start(quick_lab, "node1", "vm1")
    seen_soon(lambda: daemon.sees("vm1", "running", "node1"), "started")
    with quick_lab.hosts["node1"].connect() as connection:
        domain = connection.lookupByName("vm1")
        domain.suspend()
        seen_soon(lambda: daemon.sees("vm1", "paused", "node1"), "suspended")
        domain.resume()
        seen_soon(lambda: daemon.sees("vm1", "running", "node1"), "resumed")
    [pid] = quick_lab.hosts["node1"].guest_pids()
    os.kill(pid, signal.SIGKILL)
    seen_soon(lambda: daemon.sees("vm1", "stopped", "node1"), "crashed")
    start(quick_lab, "node1", "vm1")
    quick_lab.wait_for_guest("vm1")  # while it boots it hardly lets a migration begin
    migrate_by_hand(quick_lab, "vm1", "node1", "node2")
    seen_soon(lambda: daemon.sees("vm1", "running", "node2"), "migrated")
    with quick_lab.hosts["node2"].connect() as connection:
        domain = connection.lookupByName("vm1")
        domain.destroy()
        seen_soon(lambda: daemon.sees("vm1", "stopped", "node2"), "stopped")
        domain.undefine()
    seen_soon(lambda: daemon.vm("vm1") is None, "deleted")


def test_a_vm_without_a_definition_is_seen_come_and_go(quick_lab: Lab, daemon: RunningDaemon) -> None:
    with quick_lab.hosts["node3"].connect() as connection:
        domain = connection.createXML(quick_lab.guest_xml(GuestSpec("passing")))
        seen_soon(lambda: daemon.sees("passing", "running", "node3"), "created")
        domain.destroy()
    seen_soon(lambda: daemon.vm("passing") is None, "gone")


def test_a_frozen_host_is_unreachable_while_others_stay_fresh(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    daemon, frozen = start_daemon(FAST), quick_lab.hosts["node1"]
    define(quick_lab, "node1", GuestSpec("vm1"))
    start(quick_lab, "node1", "vm1")
    until(lambda: daemon.sees("vm1", "running", "node1"), "started")
    frozen.freeze_libvirtd()
    frozen_at = time.monotonic()
    # Several calls hang at once: what the host's CPU has, what runs there, and the daemon's own looks.
    placing = daemon.begin("place", "--dry-run", daemon.define_file(quick_lab, GuestSpec("new", cpu="Haswell-noTSX")))
    migrating = daemon.begin("migrate", "vm1", "--to", "node2")
    lost_after_s = None
    for name in (f"vm{count}" for count in range(2, 100)):
        # The others are heard of all the while, and the API answers at once.
        define(quick_lab, "node2", GuestSpec(name))
        seen_soon(lambda name=name: daemon.sees(name, "stopped", "node2"), "defined elsewhere")
        frozen_s = time.monotonic() - frozen_at
        if lost_after_s is None and daemon.host("node1")["state"] == "unreachable":
            lost_after_s = frozen_s
        if lost_after_s is not None and frozen_s > 13:  # by then the connections have broken, too
            break
        time.sleep(0.5)
    assert lost_after_s is not None
    assert ended(placing).exit_code == 0
    refused = ended(migrating)
    assert refused.exit_code == 3
    assert "does not answer" in refused.out
    assert daemon.host("node1")["detail"]
    assert [daemon.host(name)["state"] for name in ("node2", "node3")] == ["up", "up"]
    assert 'virt_scheduler_host_up{host="node1"} 0.0' in daemon.metrics()
    os.kill(frozen.guest_pids()[0], signal.SIGKILL)
    frozen.thaw_libvirtd()
    until(lambda: daemon.host("node1")["state"] == "up", "thawed")
    # What nobody could tell meanwhile is seen too.
    seen_soon(lambda: daemon.sees("vm1", "stopped", "node1"), "crashed while frozen")
    assert 'virt_scheduler_host_up{host="node1"} 1.0' in daemon.metrics()


def test_a_libvirtd_that_dies_is_unreachable_and_comes_back_by_itself(quick_lab: Lab, daemon: RunningDaemon) -> None:
    host = quick_lab.hosts["node2"]
    define(quick_lab, "node2", GuestSpec("survivor"))
    start(quick_lab, "node2", "survivor")
    host.kill_libvirtd()
    seen_soon(lambda: daemon.host("node2")["state"] == "unreachable", "killed")
    host.start_libvirtd()
    host.wait_until_serving()
    until(lambda: daemon.host("node2")["state"] == "up", "started again")
    assert daemon.sees("survivor", "running", "node2")
    define(quick_lab, "node2", GuestSpec("late"))
    seen_soon(lambda: daemon.sees("late", "stopped", "node2"), "defined after the return")


def test_one_libvirtd_under_two_addresses_is_one_host(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    same = quick_lab.hosts["node1"].uri.replace("?", "?mode=auto&")
    twin = f'[[hosts]]\nname = "twin"\nuri = "{same}"\npeer_uri = "qemu+tcp://10.0.0.9/system"\n'
    daemon = start_daemon(FAST, twin)
    twice = until(lambda: (host := daemon.host("twin"))["state"] == "unreachable" and host, "it is refused")
    assert twice["detail"].startswith("has the host UUID of node1")
    assert twice["memory_mib"] is None
    assert "twin: has the host UUID of node1" in daemon.run("status").out
    assert daemon.host("node1")["state"] == "up"


def test_a_host_that_is_down_at_the_start_joins_later(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    quick_lab.hosts["node3"].stop_libvirtd()
    daemon = start_daemon(FAST)
    assert daemon.host("node3")["state"] == "unreachable"
    assert daemon.host("node1")["state"] == "up"
    quick_lab.hosts["node3"].start_libvirtd()
    until(lambda: daemon.host("node3")["state"] == "up", "came up")
