"""`check --connect` on real hosts: what is in order, and what is not."""

from typing import Any

import pytest

from scheduler.lab.guest import GuestSpec
from scheduler.lab.lab import Lab
from tests.lab.conftest import StartDaemon
from tests.lab.running_daemon import Done, define

pytestmark = pytest.mark.lab


def by_place(done: Done) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(filter(None, (one["check"], one["host"], one["destination"]))): one for one in done.json["findings"]}


def test_every_way_between_hosts_is_really_tried(clean_lab: Lab, start_daemon: StartDaemon):
    for host in ("node1", "node2"):
        define(clean_lab, host, GuestSpec(f"on-{host}"))
    daemon = start_daemon()
    healthy = daemon.run("check", "--connect", "--json")
    assert (healthy.exit_code, healthy.json["healthy"]) == (0, True)
    found = by_place(healthy)
    ways = {place[1:]: one["result"] for place, one in found.items() if place[0] == "peer"}
    assert ways == {
        ("node1", "node2"): "ok", ("node1", "node3"): "ok", ("node2", "node1"): "ok", ("node2", "node3"): "ok",
        ("node3", "node1"): "unknown", ("node3", "node2"): "unknown",
    }  # fmt: skip
    assert "no VM to try it with" in found["peer", "node3", "node1"]["text"]
    assert found["libvirt", "node1"]["text"].startswith("libvirt ")
    assert found["kvm", "node1"]["result"] == "warning"

    clean_lab.hosts["node2"].stop_libvirtd()
    broken = daemon.run("check", "--connect")
    assert broken.exit_code == 1
    failed = [line.split()[:4] for line in broken.out.splitlines() if " failed " in f"{line} "]
    assert ["libvirt", "node2", "failed"] in [line[:3] for line in failed]
    assert ["peer", "node1", "->", "node2"] in failed
