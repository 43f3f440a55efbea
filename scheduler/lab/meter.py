"""Keeps every host's reported load and memory true to what its guests really use: `python -m scheduler.lab.meter DIR`.

A host's time is that of its CPU quota: once its processes have used that up nothing of it is idle, and it reads as
fully busy. Busy time is in real seconds, as the counters of its guests are.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from . import cgroup, reported
from .spec import HostSpec, LabSpec

_PERIOD_SECONDS = 0.5
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGES_PER_MIB = (1 << 20) // os.sysconf("SC_PAGE_SIZE")


class HostMeter:
    """Meters one host; its counters go on from what the host's /proc/stat says, so they never run backwards."""

    def __init__(self, folder: Path, spec: HostSpec, group: Path) -> None:
        self._folder = folder
        self._spec = spec
        self._group = group
        self._cpus, self._busy_seconds, self._idle_seconds = reported.read_stat(folder)
        self._cpu_seconds_by_process: dict[tuple[int, str], float] = {}

    def update(self, elapsed_seconds: float) -> None:
        """Rewrite the host's files for the `elapsed_seconds` since the last call."""
        injected = reported.read_injected(self._folder)
        used_seconds, resident_mib = self._measure()
        used_share = used_seconds / elapsed_seconds / self._spec.cpu_quota_cores
        busy_share = min(1.0, used_share + injected.cpu_cores / self._spec.cpus)
        core_seconds = elapsed_seconds * self._spec.cpu_quota_cores
        self._busy_seconds += busy_share * core_seconds
        self._idle_seconds += (1 - busy_share) * core_seconds
        text = reported.stat_text(self._cpus, busy_seconds=self._busy_seconds, idle_seconds=self._idle_seconds)
        reported.rewrite(self._folder / reported.STAT, text)
        reported.write_memory(self._folder, self._spec.memory_mib, used_mib=resident_mib + injected.memory_mib)

    def _measure(self) -> tuple[float, int]:
        """CPU seconds the host's processes used since the last call, and the resident MiB of its guests."""
        used_seconds, resident_mib = 0.0, 0
        before, self._cpu_seconds_by_process = self._cpu_seconds_by_process, {}
        for pid in cgroup.processes(self._group):
            try:
                name, fields = _process_stat(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
            started = fields[19]
            cpu_seconds = (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
            self._cpu_seconds_by_process[pid, started] = cpu_seconds
            used_seconds += max(0.0, cpu_seconds - before.get((pid, started), 0.0))
            if name.startswith("qemu-system"):
                resident_mib += int(fields[21]) // _PAGES_PER_MIB
        return used_seconds, resident_mib


def _process_stat(pid: int) -> tuple[str, list[str]]:
    """A process's name and the fields of its stat file after the name, as proc(5) numbers them from 3 on."""
    # The name stands in parentheses and may itself hold spaces and parentheses.
    head, _, tail = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
    return head.partition("(")[2], tail.split()


def main(directory: Path) -> None:
    """Meter all hosts of the lab in `directory` for as long as the lab exists."""
    state_file = directory / "lab.json"
    state = json.loads(state_file.read_text())
    group = cgroup.lab_group(state["id"])
    meters = [
        HostMeter(directory / "hosts" / host.name, host, group / host.name)
        for host in LabSpec.from_dict(state["spec"]).hosts
    ]
    last = time.monotonic()
    while state_file.exists():
        time.sleep(_PERIOD_SECONDS)
        now = time.monotonic()
        for meter in meters:
            meter.update(now - last)
        last = now


if __name__ == "__main__":
    main(Path(sys.argv[1]))
