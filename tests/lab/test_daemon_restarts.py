"""What is under way outlives the daemon: killed or stopped, the next one takes it up. And a config that changes."""

import time

import pytest

from scheduler.lab.guest import GuestSpec
from scheduler.lab.lab import Lab
from tests.lab.conftest import StartDaemon
from tests.lab.running_daemon import (
    FAST,
    SLOW_MIGRATION,
    RunningDaemon,
    define,
    definitions,
    ended,
    run_guests,
    running_on,
    start,
    until,
)

pytestmark = pytest.mark.lab


def begin_slow_migration(lab: Lab, daemon: RunningDaemon) -> int:
    """A migration from node1 to node2 that is on its way; its id."""
    run_guests(lab, "node1", [GuestSpec("vm1")])
    until(lambda: daemon.sees("vm1", "running", "node1"), "it runs")
    with lab.hosts["node1"].connect() as connection:
        connection.lookupByName("vm1").setAutostart(1)
    assert daemon.run("migrate", "vm1", "--to", "node2", "--no-wait").exit_code == 0
    number: int = until(lambda: daemon.migrating("vm1"), "it migrates")["id"]
    return number


def test_a_killed_daemon_s_migration_is_adopted_by_the_next(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(FAST, SLOW_MIGRATION)
    number = begin_slow_migration(quick_lab, daemon)
    daemon.kill()
    daemon.start()
    adopted = daemon.get(f"migrations/{number}")
    assert adopted["state"] == "migrating"
    assert (daemon.host("node1")["outbound"], daemon.host("node2")["inbound"]) == (1, 1)
    ended = until(lambda: daemon.migration_of("vm1", state="completed"), "it ends", seconds=60)
    assert (ended["id"], ended["trigger"], ended["requested_by"]) == (number, "manual", "root")
    assert ended["duration_seconds"] > 3
    assert definitions(quick_lab, "vm1") == running_on(quick_lab, "vm1") == ["node2"]
    with quick_lab.hosts["node2"].connect() as connection:
        assert connection.lookupByName("vm1").autostart()
    assert [record["id"] for record in daemon.migrations()] == [number]
    until(lambda: daemon.host("node2")["inbound"] == 0, "the slots are free")


def test_a_migration_that_ends_while_no_daemon_runs_is_told_by_the_next(
    quick_lab: Lab, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(FAST, '[migration]\nbandwidth = "15MiB/s"\n')
    number = begin_slow_migration(quick_lab, daemon)
    assert daemon.terminate() == 0
    assert "Traceback" not in daemon.log.read_text()
    until(lambda: running_on(quick_lab, "vm1") == ["node2"], "it has ended without a daemon", seconds=60)
    daemon.start()
    ended = until(lambda: daemon.migration_of("vm1", state="completed"), "it is told", seconds=30)
    assert ended["id"] == number
    assert definitions(quick_lab, "vm1") == ["node2"]
    assert "vm1 " in daemon.run("history").out


def test_the_next_daemon_can_abort_what_the_last_one_began(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(FAST, SLOW_MIGRATION)
    begin_slow_migration(quick_lab, daemon)
    daemon.kill()
    daemon.start()
    assert daemon.run("abort", "vm1").exit_code == 0
    until(lambda: daemon.migration_of("vm1", state="aborted"), "it is aborted")
    told = until(lambda: told_of(daemon, "vm1 on node2", last="stopped"), "is told")
    assert set(told) <= {"changed", "stopped"}  # no crash: it waited there, which a look may have shown, and left
    assert definitions(quick_lab, "vm1") == running_on(quick_lab, "vm1") == ["node1"]


def test_a_placement_during_which_the_daemon_is_killed_is_told_by_the_next(
    quick_lab: Lab, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon()
    for number, seconds in enumerate((0.0, 0.1, 0.3)):
        name = f"vm{number}"
        command = daemon.begin("place", daemon.define_file(quick_lab, GuestSpec(name)))
        under_way = until(lambda name=name: daemon.placement_of(name, ended=False), "it is journalled at first")
        time.sleep(seconds)
        daemon.kill()
        ended(command)
        daemon.start()
        record = until(lambda name=name: daemon.placement_of(name), "it is settled", seconds=60)
        assert record["id"] == under_way["id"]
        assert record["requested_by"] == "root"
        # It was killed while libvirt started the VM, or just before or after that.
        assert running_on(quick_lab, name) == ([record["host"]] if record["outcome"] == "started" else [])
        if record["outcome"] == "started":
            assert definitions(quick_lab, name) == [record["host"]]
        else:
            assert "the daemon ended while it was being started" in record["reason"]
            assert bool(definitions(quick_lab, name)) == ("it is defined there" in record["reason"])


def test_the_journal_survives_and_what_was_placed_once_is_not_placed_again(
    quick_lab: Lab, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon()
    asks = "<placement xmlns='urn:virt-scheduler:1' autostart='yes'/>"
    define(quick_lab, "node1", GuestSpec("asks", metadata=asks))
    [host] = until(lambda: running_on(quick_lab, "asks"), "it was started")
    until(lambda: daemon.placement_of("asks"), "it is journalled")
    before = daemon.run("history", "--json").json
    with quick_lab.hosts[host].connect() as connection:
        connection.lookupByName("asks").destroy()
    daemon.kill()
    daemon.start()
    assert daemon.run("history", "--json").json == before
    until(lambda: daemon.get("status")["cycle"], "a cycle")
    define(quick_lab, "node2", GuestSpec("other", metadata=asks))
    until(lambda: running_on(quick_lab, "other"), "what is new was started")
    assert running_on(quick_lab, "asks") == []


def test_a_reload_changes_rules_and_hosts_and_refuses_mistakes(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    define(quick_lab, "node3", GuestSpec("vm1"))
    start(quick_lab, "node3", "vm1")
    until(lambda: daemon.sees("vm1", "running", "node3"), "it runs")
    good = daemon.config_file.read_text()

    daemon.config_file.write_text(good + '[[pins]]\nvm = "vm1"\nhosts = ["node9"]\n[balance]\nobjective = "fun"\n')
    refused = daemon.run("reload")
    assert refused.exit_code == 2
    assert "balance.objective" in refused.err
    assert "contention" in refused.err
    assert daemon.get("status")["config_error"]
    assert "virt_scheduler_config_last_reload_successful 0.0" in daemon.metrics()
    assert daemon.host("node3")["state"] == "up"

    daemon.config_file.write_text(good + '[[pins]]\nvm = "vm1"\nhosts = ["node3"]\n')
    assert daemon.run("reload").exit_code == 0
    assert daemon.get("status")["config_error"] == ""
    assert "virt_scheduler_config_last_reload_successful 1.0" in daemon.metrics()
    refused = daemon.run("migrate", "vm1", "--to", "node1")
    assert refused.exit_code == 3
    assert "pinned to node3" in refused.out

    without_third = good[: good.index('[[hosts]]\nname = "node3"')]
    daemon.config_file.write_text(without_third)
    changed = daemon.run("reload")
    assert changed.exit_code == 0
    assert "node3" in changed.out
    assert [host["name"] for host in daemon.get("hosts")["hosts"]] == ["node1", "node2"]
    assert daemon.vm("vm1") is None
    assert 'host="node3"' not in daemon.metrics()
    daemon.config_file.write_text(good)
    assert daemon.run("reload").exit_code == 0
    until(lambda: daemon.sees("vm1", "running", "node3"), "the host is back")


def test_a_host_taken_out_of_the_config_is_let_go_when_its_migration_has_ended(
    quick_lab: Lab, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(FAST, SLOW_MIGRATION)
    number = begin_slow_migration(quick_lab, daemon)
    good = daemon.config_file.read_text()
    first, rest = good.index('[[hosts]]\nname = "node1"'), good.index('[[hosts]]\nname = "node2"')
    daemon.config_file.write_text(good[:first] + good[rest:])
    told = daemon.run("reload")
    assert told.exit_code == 0
    assert told.out == "host node1 removed (let go when nothing is under way there: node1)\n"
    assert daemon.get(f"migrations/{number}")["state"] == "migrating"
    assert daemon.host("node1")["state"] == "maintenance"
    completed = until(lambda: daemon.migration_of("vm1", state="completed"), "it ends", seconds=60)
    assert (completed["id"], completed["error"]) == (number, "")
    assert definitions(quick_lab, "vm1") == running_on(quick_lab, "vm1") == ["node2"]
    left = ["node2", "node3"]
    until(lambda: [host["name"] for host in daemon.get("hosts")["hosts"]] == left, "the host is let go")
    assert 'host="node1"' not in daemon.metrics()


def told_of(daemon: RunningDaemon, whom: str, *, last: str) -> list[str]:
    """What the events say of `whom`, once the newest of it is `last`."""
    lines = [line for line in daemon.run("events").out.splitlines() if whom in line]
    told = [line.partition(": ")[2] for line in lines]
    return told if told[-1:] == [last] else []
