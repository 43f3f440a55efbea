"""Ganeti's hbal beside ours: the same cluster in its text format, disk template `ext` (live-migrates to any host).

Disks, spindles and networks are the same everywhere, so that its score over memory, vCPUs and CPU load is that of
`spread` with weights 1, 1, 1 on equal hosts.
"""

import re
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory

from ..cluster.model import Snapshot

INSTALLED = shutil.which("hbal") is not None
_MOVE = re.compile(r"^\s*\d+\.\s+(\S+)\s+(\S+)\s+=>\s+(\S+)\s", re.MULTILINE)


@dataclass(frozen=True)
class Balanced:
    """What hbal did."""

    steps: tuple[tuple[str, str], ...]
    """The VM and where it goes, in order; a VM may come more than once."""
    after: Snapshot
    seconds: float
    command: str


def steps(snapshot: Snapshot, *, moves: int) -> tuple[tuple[str, str], ...]:
    """Its first `moves` steps: the VM and where it goes."""
    with TemporaryDirectory(prefix="virt-scheduler-hbal-") as directory:
        return balance(snapshot, Path(directory), moves=moves).steps


def balance(snapshot: Snapshot, directory: Path, *, moves: int = -1) -> Balanced:
    """Run hbal to its end, or for `moves` moves, on its own clock."""
    (directory / "cluster.data").write_text(_cluster(snapshot), encoding="utf-8")
    # hbal evens out the sum of these numbers a host: as parts of a host of mean size that is CPU utilisation.
    cpus = sum(host.cpus for host in snapshot.hosts) / len(snapshot.hosts)
    loads = "".join(f"{vm.name} {(vm.cpu_demand_cores or 0.0) / cpus:.9f} 0 0 0\n" for vm in snapshot.vms)
    (directory / "loads").write_text(loads, encoding="utf-8")
    command = ["hbal", "-t", str(directory / "cluster.data"), "-U", str(directory / "loads"), "-l", str(moves)]
    command += ["-p", "-C", "--min-score=0"]
    began = time.perf_counter()
    shown = run(command, capture_output=True, text=True, check=True).stdout
    seconds = time.perf_counter() - began
    found = _MOVE.findall(shown)
    steps = tuple((name, destination.split(":")[0]) for name, _, destination in found)
    hosts = dict(steps)
    vms = tuple(replace(vm, host=hosts.get(vm.name, vm.host)) for vm in snapshot.vms)
    return Balanced(steps, replace(snapshot, vms=vms), seconds, " ".join(command))


def _cluster(snapshot: Snapshot) -> str:
    group = "default|group-uuid|preferred||"
    hosts = [
        f"{host.name}|{host.memory_mib}|0|{_free(snapshot, host.name)}|1000000|1000000|{host.cpus}|N|group-uuid|1|1|N|0"
        for host in snapshot.hosts
    ]
    vms = [f"{vm.name}|{vm.memory_mib}|0|{vm.vcpus}|running|Y|{vm.host}||ext||0" for vm in snapshot.vms]
    least = "0,0,0,0,0,0"
    most = "1000000,1000,100000000,1000000,16,16"
    policy = f"|128,1,1024,128,1,1|{least};{most}|ext|1000|1000"
    return "\n\n".join(["\n".join(part) for part in ([group], hosts, vms, [""], [policy, "default" + policy])]) + "\n"


def _free(snapshot: Snapshot, host: str) -> int:
    memory = next(one.memory_mib for one in snapshot.hosts if one.name == host)
    return memory - sum(vm.memory_mib for vm in snapshot.vms if vm.host == host)
