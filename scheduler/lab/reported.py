"""What a host reports about itself: private files that are mounted over its /proc and /sys entries.

All hosts share the one machine's /proc and /sys; libvirtd reads cores from /sys/devices/system, load from /proc/stat
and memory from /proc/meminfo and node0/meminfo. The last three change all the time. They are rewritten in place,
since a bind mount holds on to the file and not to its name, and at constant length, so that no reader sees a torn end.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .spec import HostSpec

STAT = "proc/stat"
MEMINFO = "proc/meminfo"
SYSTEM_DEVICES = "sys"
_NODE_MEMINFO = "sys/node/node0/meminfo"
_INJECTED = "injected.json"
_OS_SHARE_MIB = 128
"""What the host's own operating system takes."""

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Injected:
    """Load a test pretends the host has beside its guests: reported cores kept busy and memory taken."""

    cpu_cores: float = 0.0
    memory_mib: int = 0


def read_injected(folder: Path) -> Injected:
    """The load injected into the host in `folder`; none unless `write_injected` said so."""
    try:
        return Injected(**json.loads((folder / _INJECTED).read_text()))
    except FileNotFoundError:
        return Injected()


def write_injected(folder: Path, injected: Injected) -> None:
    """Set the load injected into the host in `folder`; the meter sees it at its next turn."""
    draft = folder / f"{_INJECTED}.new"
    draft.write_text(json.dumps({"cpu_cores": injected.cpu_cores, "memory_mib": injected.memory_mib}))
    draft.replace(folder / _INJECTED)


def create_files(folder: Path, spec: HostSpec, first_cpu: int) -> None:
    """Lay out the host's /proc files and its tree of CPUs, numbered from `first_cpu`, in one NUMA node."""
    cpus = range(first_cpu, first_cpu + spec.cpus)
    listed = f"{cpus[0]}-{cpus[-1]}" if spec.cpus > 1 else str(first_cpu)
    mask = f"{sum(1 << cpu for cpu in cpus):08x}"
    files = {
        **dict.fromkeys(("cpu/present", "cpu/online", "cpu/possible"), listed),
        **dict.fromkeys(("node/online", "node/possible", "node/has_cpu", "node/has_normal_memory"), "0"),
        "node/node0/cpulist": listed,
        "node/node0/cpumap": mask,
        "node/node0/distance": "10",
    }
    for cpu in cpus:
        topology = f"cpu/cpu{cpu}/topology"
        files |= {
            f"{topology}/physical_package_id": "0",
            f"{topology}/die_id": "0",
            f"{topology}/core_id": str(cpu),
            f"{topology}/thread_siblings": f"{1 << cpu:08x}",
            f"{topology}/thread_siblings_list": str(cpu),
            f"{topology}/core_siblings": mask,
            f"{topology}/core_siblings_list": listed,
            f"cpu/cpu{cpu}/online": "1",
        }
    for name, content in files.items():
        path = folder / SYSTEM_DEVICES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    for cpu in cpus:
        (folder / SYSTEM_DEVICES / f"node/node0/cpu{cpu}").symlink_to(f"../../cpu/cpu{cpu}")
    (folder / "proc").mkdir()
    (folder / STAT).write_text(stat_text(cpus, busy_seconds=0.0, idle_seconds=0.0))
    write_memory(folder, spec.memory_mib, used_mib=0)


def stat_text(cpus: range, *, busy_seconds: float, idle_seconds: float) -> str:
    """/proc/stat of a host whose CPUs together were busy and idle for that long since it began."""
    lines = [_stat_line("cpu ", busy_seconds, idle_seconds)]
    lines += [_stat_line(f"cpu{cpu}", busy_seconds / len(cpus), idle_seconds / len(cpus)) for cpu in cpus]
    return "".join([*lines, "ctxt 0\nbtime 0\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n"])


def _stat_line(name: str, busy_seconds: float, idle_seconds: float) -> str:
    user, idle = int(busy_seconds * _TICKS_PER_SECOND), int(idle_seconds * _TICKS_PER_SECOND)
    return f"{name} {user:>12} 0 0 {idle:>12} 0 0 0 0 0 0\n"


def read_stat(folder: Path) -> tuple[range, float, float]:
    """The CPUs of the host in `folder`, and the seconds they were busy and idle, as its /proc/stat has them."""
    lines = [line.split() for line in (folder / STAT).read_text().splitlines() if line.startswith("cpu")]
    total = lines[0]
    first, last = (int(line[0].removeprefix("cpu")) for line in (lines[1], lines[-1]))
    return range(first, last + 1), int(total[1]) / _TICKS_PER_SECOND, int(total[4]) / _TICKS_PER_SECOND


def write_memory(folder: Path, total_mib: int, *, used_mib: int) -> None:
    """Write what the host says of its memory: `used_mib` is taken beside the share of its operating system."""
    free_mib = max(0, total_mib - _OS_SHARE_MIB - used_mib)
    meminfo = {"MemTotal": total_mib, "MemFree": free_mib, "MemAvailable": free_mib}
    meminfo |= dict.fromkeys(("Buffers", "Cached", "SwapTotal", "SwapFree"), 0)
    rewrite(folder / MEMINFO, "".join(_memory_line(name, mib) for name, mib in meminfo.items()))
    node = {"MemTotal": total_mib, "MemFree": free_mib, "MemUsed": total_mib - free_mib}
    rewrite(folder / _NODE_MEMINFO, "".join(f"Node 0 {_memory_line(name, mib)}" for name, mib in node.items()))


def _memory_line(name: str, mib: int) -> str:
    return f"{name + ':':<16}{mib * 1024:>12} kB\n"


def rewrite(path: Path, text: str) -> None:
    """Put `text` in the place of the file's content, which has the same length, by a single write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, text.encode(), 0)
    finally:
        os.close(descriptor)
