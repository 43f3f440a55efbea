"""What the daemon adds to a migration, and what it costs while nothing happens. On the lab: root, one guest.

The same guest goes to and fro between two hosts, by the daemon and by virsh in turns.
"""

import os
import statistics
import subprocess
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from scheduler.lab import cgroup
from scheduler.lab.guest import GuestSpec
from scheduler.lab.lab import Lab
from tests.lab.running_daemon import RunningDaemon, run_guests, until
from tests.soak.footprint import Footprint

pytestmark = pytest.mark.lab

TURNS = 6
"""Of each, there and back."""
IDLE_SECONDS = 30.0


def by_virsh(lab: Lab, vm: str, source: str, destination: str) -> float:
    """Seconds of the whole command."""
    target = lab.hosts[destination]
    flags = ["--live", "--p2p", "--persistent", "--undefinesource", "--abort-on-error"]
    command = ["virsh", "-c", lab.hosts[source].uri, "migrate", *flags, vm, target.peer_uri]
    began_s = time.monotonic()
    subprocess.run([*command, f"tcp://{target.migration_address}"], check=True, capture_output=True)
    return time.monotonic() - began_s


def by_daemon(daemon: RunningDaemon, vm: str, source: str, destination: str) -> float:
    """Seconds from the request to the verified end."""
    # What virsh did before has been followed to its end.
    until(lambda: (daemon.vm(vm) or {}).get("host") == source, "it is seen where it is")
    until(lambda: all(record["ended_at"] for record in daemon.migrations()), "all have ended")
    [asked] = daemon.post("migrations", vms=[vm], to=destination)["migrations"]
    done = until(lambda: (now := daemon.get(f"migrations/{asked['id']}"))["ended_at"] and now, "it ends")
    assert done["state"] == "completed", done["error"]
    return float(seconds_of(done["ended_at"]) - seconds_of(done["requested_at"]))


def seconds_of(at: str | float) -> float:
    """Unix seconds of a time of the API."""
    return datetime.fromisoformat(at).timestamp() if isinstance(at, str) else at


def cpu_seconds(pid: int) -> float:
    """That a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_overhead_of_a_migration_and_of_an_idle_daemon(clean_lab: Lab) -> None:
    for host in clean_lab.hosts:
        cgroup.set_quota(clean_lab.id, host, len(os.sched_getaffinity(0)))
    with closing(RunningDaemon(clean_lab, "", mode="observe")) as daemon:
        run_guests(clean_lab, "node1", [GuestSpec("vm1")])
        until(lambda: daemon.sees("vm1", "running", "node1"), "it is seen")
        daemons, virshs = [], []
        for _ in range(TURNS):
            daemons.append(by_daemon(daemon, "vm1", "node1", "node2"))
            virshs.append(by_virsh(clean_lab, "vm1", "node2", "node1"))
            virshs.append(by_virsh(clean_lab, "vm1", "node1", "node2"))
            daemons.append(by_daemon(daemon, "vm1", "node2", "node1"))
        pid = daemon.process.pid
        before_s = cpu_seconds(pid)
        time.sleep(IDLE_SECONDS)
        idle_cores = (cpu_seconds(pid) - before_s) / IDLE_SECONDS
        weight = Footprint.of(pid)
    ours, theirs = statistics.median(daemons), statistics.median(virshs)
    print(f"\nmigration: daemon {ours:.3f} s, virsh {theirs:.3f} s, ratio {ours / theirs:.3f} ({2 * TURNS} each)")
    print(f"idle daemon, 3 hosts: {idle_cores:.2%} of a core, {weight.rss_mib:.0f} MiB, {weight.threads} threads")
