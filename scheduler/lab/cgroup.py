"""CPU quotas: one control group a host, so that a host really runs short of CPU while the next one does not.

Handles both layouts of the kernel: version 1 (a `cpu` hierarchy) and version 2 (one hierarchy for all).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .command import wait_until
from .errors import LabError

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000
"""A guest's duty cycle is this long too, so one that wants less than the quota is never throttled inside a period."""


def lab_group(lab_id: str) -> Path:
    """The directory of the lab's group, above those of its hosts."""
    return _hierarchy() / f"vslab-{lab_id}"


def create(lab_id: str, host: str) -> None:
    """Create the host's group, as yet without a limit."""
    group = lab_group(lab_id) / host
    try:
        group.parent.mkdir(exist_ok=True)
        if _is_v2():
            for level in (group.parent.parent, group.parent):
                (level / "cgroup.subtree_control").write_text("+cpu")
        group.mkdir(exist_ok=True)
    except OSError as error:
        raise LabError(f"cannot create CPU group {group}: {error.strerror}") from error


def set_quota(lab_id: str, host: str, cores: float) -> None:
    """Limit the host's group to `cores` of this machine from now on."""
    group = lab_group(lab_id) / host
    quota_us = max(1000, int(cores * _PERIOD_US))
    if _is_v2():
        (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota_us))


def processes(group: Path) -> list[int]:
    """Ids of the processes in `group`; none when it does not exist."""
    try:
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    except (FileNotFoundError, OSError):
        return []


def remove(lab_id: str) -> None:
    """Remove the lab's groups, whose processes have ended; a missing group is fine."""
    top = lab_group(lab_id)
    if not top.exists():
        return
    for group in [*(path for path in top.iterdir() if path.is_dir()), top]:
        # An ended process leaves its group a moment after it has left the process table.
        wait_until(partial(_removed, group), f"{group} becomes empty", timeout_seconds=10)


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _is_v2() -> bool:
    return (_ROOT / "cgroup.controllers").exists()


def _hierarchy() -> Path:
    if _is_v2():
        if "cpu" not in (_ROOT / "cgroup.controllers").read_text().split():
            raise LabError("the kernel's control groups have no CPU controller: CPU quotas are impossible here")
        return _ROOT
    if not (_ROOT / "cpu" / "cpu.cfs_quota_us").exists():
        raise LabError("no CPU control groups under /sys/fs/cgroup: CPU quotas are impossible here")
    return _ROOT / "cpu"
