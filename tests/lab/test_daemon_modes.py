"""What the daemon does by itself on real hosts, what it only recommends, and how a host is emptied."""

import pytest

from scheduler.lab.guest import GuestSpec
from scheduler.lab.lab import Lab
from scheduler.lab.ping import Ping
from tests.lab.conftest import StartDaemon
from tests.lab.running_daemon import (
    FAST,
    READY_TO_BALANCE,
    define,
    definitions,
    run_guests,
    running_on,
    start,
    until,
)

pytestmark = pytest.mark.lab

PINNED = '[[pins]]\nvm = "legacy-*"\nhosts = ["node1"]\n'


@pytest.mark.alone
def test_contention_is_relieved_by_itself(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    run_guests(quick_lab, "node1", [GuestSpec("busy1"), GuestSpec("busy2")])
    quick_lab.inject_load("node1")  # its own share of the machine again: less than half a core
    daemon = start_daemon(FAST, READY_TO_BALANCE)
    pings = {name: Ping(quick_lab.ping_command(name, "-i", "1")) for name in ("busy1", "busy2")}
    try:
        for name in pings:
            quick_lab.set_guest_load(name, cpu=0.3)
        moved = until(
            lambda: next((r for r in daemon.migrations() if r["state"] == "completed"), None),
            "it is relieved",
            seconds=60,
        )
    finally:
        losses = {name: ping.stop() for name, ping in pings.items()}
    assert (moved["source"], moved["trigger"]) == ("node1", "balance")
    assert "short" in moved["reason"]
    assert moved["cycle"]
    assert definitions(quick_lab, moved["vm"]) == running_on(quick_lab, moved["vm"]) == [moved["destination"]]
    lost = losses[moved["vm"]].sent - losses[moved["vm"]].received
    assert lost <= 2
    decided = [decision for decision in daemon.get("decisions")["decisions"] if decision["cycle"] == moved["cycle"]]
    assert f"{moved['vm']} node1 -> {moved['destination']}" in decided[0]["sentence"]
    until(lambda: not daemon.host("node1")["contended_seconds"], "node1 is calm", seconds=30)


def test_recommended_moves_wait_for_a_person(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(FAST, PINNED, mode="recommend")
    run_guests(quick_lab, "node3", [GuestSpec("legacy-erp")])
    [recommended] = until(lambda: daemon.get("recommendations")["recommendations"], "it is recommended")
    assert (recommended["vm"], recommended["source"], recommended["destination"]) == ("legacy-erp", "node3", "node1")
    shown = daemon.run("recommendations")
    assert "legacy-erp" in shown.out
    assert daemon.migrations() == []
    assert daemon.get("status")["recommendations_pending"] == 1

    approved = daemon.run("approve", str(recommended["id"]))
    assert approved.exit_code == 0, approved
    assert "completed" in approved.out
    assert running_on(quick_lab, "legacy-erp") == ["node1"]
    [record] = daemon.migrations()
    assert (record["trigger"], record["requested_by"], record["cycle"]) == (
        "recommendation",
        "root",
        recommended["cycle"],
    )
    until(lambda: daemon.get("recommendations")["recommendations"] == [], "nothing is left to approve")
    again = daemon.run("approve", str(recommended["id"]))
    assert again.exit_code == 3
    assert "approved" in again.err


def test_a_dismissed_move_is_not_recommended_again(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(FAST, '[[pins]]\nvm = "vm1"\nhosts = ["node1"]\nstrength = "must"\n', mode="recommend")
    define(quick_lab, "node3", GuestSpec("vm1"))
    start(quick_lab, "node3", "vm1")
    [recommended] = until(lambda: daemon.get("recommendations")["recommendations"], "it is recommended")
    dismissed = daemon.run("dismiss", str(recommended["id"]))
    assert dismissed.exit_code == 0
    assert "dismissed" in dismissed.out
    until(lambda: "held back vm1" in daemon.get("status")["sentence"], "the next cycle")
    assert daemon.get("recommendations")["recommendations"] == []
    assert running_on(quick_lab, "vm1") == ["node3"]
    assert daemon.migrations() == []
    assert daemon.run("dismiss", "999").exit_code == 2


def test_observing_does_nothing_and_says_what_it_would_do(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(FAST, PINNED, mode="observe")
    asks = "<placement xmlns='urn:virt-scheduler:1' autostart='yes'/>"
    define(quick_lab, "node2", GuestSpec("asks", metadata=asks))
    define(quick_lab, "node3", GuestSpec("legacy-erp"))
    start(quick_lab, "node3", "legacy-erp")
    until(lambda: "would move legacy-erp node3 -> node1" in daemon.get("status")["sentence"], "it says so")
    assert daemon.get("recommendations")["recommendations"] == []
    assert daemon.migrations() == daemon.get("placements")["placements"] == []
    assert running_on(quick_lab, "legacy-erp") == ["node3"]
    assert running_on(quick_lab, "asks") == []
    # What a person asks for is done all the same.
    quick_lab.wait_for_guest("legacy-erp")
    assert daemon.run("migrate", "legacy-erp").exit_code == 0
    assert running_on(quick_lab, "legacy-erp") == ["node1"]
    # And with a word of the operator's it begins to act.
    daemon.configure(FAST, PINNED, mode="auto")
    assert daemon.run("reload").exit_code == 0
    until(lambda: running_on(quick_lab, "asks"), "it was started")


def test_a_host_is_cordoned_drained_and_used_again(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    local = quick_lab.hosts["node3"].folder / "lib" / "local.img"
    local.write_bytes(bytes(1 << 20))
    disk = "<disk type='file'><source file='/var/lib/libvirt/local.img'/><target dev='vda' bus='virtio'/></disk>"
    run_guests(quick_lab, "node3", [GuestSpec("vm1"), GuestSpec("vm2")])
    daemon = start_daemon(FAST)
    assert daemon.run("cordon", "node3").exit_code == 0
    assert daemon.host("node3")["state"] == "maintenance"
    refused = daemon.run("place", "--host", "node3", daemon.define_file(quick_lab, GuestSpec("vm3")))
    assert refused.exit_code == 3
    assert "maintenance" in refused.out
    assert sorted(running_on(quick_lab, "vm1") + running_on(quick_lab, "vm2")) == ["node3", "node3"]

    tried = daemon.run("drain", "node3", "--dry-run", "--json")
    assert {step["vm"] for step in tried.json["plan"]["steps"]} == {"vm1", "vm2"}
    assert daemon.migrations() == []
    drained = daemon.run("drain", "node3", "--json")
    assert drained.exit_code == 0, drained
    assert {record["trigger"] for record in drained.json["migrations"]} == {"drain"}
    for name in ("vm1", "vm2"):
        assert running_on(quick_lab, name) != ["node3"]
        assert definitions(quick_lab, name) == running_on(quick_lab, name)
    assert daemon.host("node3")["vms_running"] == 0
    assert daemon.host("node3")["state"] == "maintenance"

    # Taken down and up again, it is still out of service until it is told otherwise.
    daemon.kill()
    daemon.start()
    assert daemon.host("node3")["state"] == "maintenance"
    assert daemon.run("uncordon", "node3").exit_code == 0
    assert daemon.host("node3")["state"] == "up"

    define(quick_lab, "node3", GuestSpec("with-disk"), lambda xml: xml.replace("<memballoon", disk + "<memballoon"))
    start(quick_lab, "node3", "with-disk")
    until(lambda: daemon.sees("with-disk", "running", "node3"), "it runs")
    stuck = daemon.run("drain", "node3")
    assert stuck.exit_code == 3
    assert "with-disk stays on node3" in stuck.out
    assert "local.img" in stuck.out
