"""The matrix on hosts of three CPU generations, by their own libvirt; and the CPU that all of them share."""

import re
from itertools import pairwise
from typing import Any

import pytest

from scheduler.lab.guest import HOST_MODEL, GuestSpec
from scheduler.lab.lab import Lab
from tests.lab.conftest import StartDaemon
from tests.lab.running_daemon import RunningDaemon, define, start, until

pytestmark = pytest.mark.lab

OLD, MIDDLE, NEW = "node1", "node2", "node3"
"""Nehalem (Xeon 5500), Westmere (Xeon 5600), Haswell (Xeon E5-2600 of the AVX2 generation)."""
ONLY_TOWARDS_NEWER = {
    (OLD, MIDDLE): "yes", (OLD, NEW): "yes", (MIDDLE, NEW): "yes",
    (MIDDLE, OLD): "no", (NEW, OLD): "no", (NEW, MIDDLE): "no",
}  # fmt: skip


def pairs(daemon: RunningDaemon, *arguments: str) -> dict[tuple[str, str], Any]:
    found = daemon.run("matrix", *arguments, "--json").json["pairs"]
    return {(pair["source"], pair["destination"]): pair for pair in found}


def test_of_three_generations_only_towards_newer_works(clean_lab: Lab, start_daemon: StartDaemon):
    define(clean_lab, NEW, GuestSpec("fresh", cpu=HOST_MODEL))
    daemon = start_daemon()
    found = pairs(daemon)
    assert {way: pair["possible"] for way, pair in found.items()} == ONLY_TOWARDS_NEWER
    assert found[MIDDLE, OLD]["missing"] == ["aes"]
    assert {"aes", "avx", "avx2"} <= set(found[NEW, OLD]["missing"])
    assert "avx2" in found[NEW, MIDDLE]["missing"]
    assert "aes" not in found[NEW, MIDDLE]["missing"]
    # It would get its CPU where it starts.
    assert {way: pair["possible"] for way, pair in pairs(daemon, "--vm", "fresh").items()} == ONLY_TOWARDS_NEWER
    shown = daemon.run("matrix").out.splitlines()
    assert shown[1].split() == ["FROM", "\\", "TO", OLD, MIDDLE, NEW]
    assert [line.split()[-3:] for line in shown[2:5]] == [["-", "yes", "yes"], ["no", "-", "yes"], ["no", "no", "-"]]


def test_a_guest_with_the_shared_cpu_boots_on_every_host_and_moves_between_all(
    quick_lab: Lab, start_daemon: StartDaemon
):
    daemon = start_daemon()
    found = daemon.run("matrix", "--baseline", "--json").json
    assert found["held_back_by"] == [OLD]
    assert {"sse4.2", "ssse3"} <= set(found["features"])
    loses = {host["name"]: set(host["loses"]) for host in found["hosts"]}
    assert (loses[OLD], loses[MIDDLE]) == (set(), {"aes"})
    assert {"aes", "avx", "avx2"} <= loses[NEW]

    def with_it(xml: str) -> str:
        changed, count = re.subn("<cpu .*</cpu>", lambda _: found["cpu_xml"], xml, flags=re.DOTALL)
        assert count == 1
        return changed

    for host in (OLD, MIDDLE, NEW):
        define(quick_lab, host, GuestSpec(f"on-{host}"), with_it)
        start(quick_lab, host, f"on-{host}")
    for host in (OLD, MIDDLE, NEW):
        quick_lab.wait_for_guest(f"on-{host}")
    until(lambda: daemon.sees(f"on-{NEW}", "running", NEW), "it is seen")
    assert {pair["possible"] for pair in pairs(daemon, "--vm", f"on-{NEW}").values()} == {"yes"}
    round_trip = (NEW, MIDDLE, OLD, NEW, OLD, MIDDLE, NEW)  # each of the six ways
    assert len(set(pairwise(round_trip))) == 6
    for destination in round_trip[1:]:
        done = daemon.run("migrate", f"on-{NEW}", "--to", destination)
        assert done.exit_code == 0, done.out + done.err
        assert quick_lab.answers_ping(f"on-{NEW}")
