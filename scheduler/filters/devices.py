"""Devices: a VM with a device that cannot move (hostdev, local disk, ...) stays where it is."""

import numpy as np

from ..cluster.reason import Reason
from .view import NOWHERE, BoolArray, Need, View

CODE = "not_movable"
_REMEDIES = {
    "CD-ROM": "eject the medium: virsh change-media --eject",
    "disk": "put the disk on storage that all hosts see, name its directory in shared_directories, or let a migration "
    "class with copy_storage mean it",
    "block job": "wait for the end of the block job",
    "PCI device": "detach the device for the move: virsh detach-device",
    "mediated device": "detach the device for the move: virsh detach-device",
    "USB device": "detach the device for the move: virsh detach-device",
    "vDPA device": "detach the device for the move: virsh detach-device",
    "shared folder": "unmount the folder in the guest and detach it: virsh detach-device",
    "shared memory": "detach the device for the move: virsh detach-device",
    "serial device": "give it a pty instead and start it anew",
    "TPM of the host": "give it an emulated TPM (backend emulator) and start it anew",
    "input device of the host": "detach the device for the move: virsh detach-device",
    "persistent memory": "put its file on storage that all hosts see",
    "CPU feature invtsc": "name the host's TSC frequency in clock/timer and start it anew",
    "firmware variables": "put its firmware variables on storage that all hosts see, or migrate it while it runs",
    "vTPM": "put its vTPM's state on storage that all hosts see, or migrate it while it runs",
}
"""By how a blocker begins (see `hypervisor.blockers`)."""
_GONE_WITH_THE_GUEST = ("block job", "CPU feature invtsc", "encrypted guest memory", "shared memory", "transient disk")
"""Blockers of what is running, not of starting it anew on another host."""


def mask(view: View, need: Need) -> BoolArray:
    """All hosts, or only its own when the VM cannot leave it, shape (hosts,)."""
    if need.movable or need.host == NOWHERE:
        return np.ones(len(view.hosts), dtype=bool)
    return np.array([host == need.host for host in range(len(view.hosts))], dtype=bool)


def reason(view: View, need: Need, host: int) -> Reason:  # noqa: ARG001 - every filter is asked the same way
    """What keeps the VM where it is; call only where `mask` is false."""
    text = "; ".join(need.blockers) or "it is marked as not movable"
    remedies = dict.fromkeys(filter(None, map(_remedy, need.blockers)))
    return Reason(CODE, f"cannot leave its host: {text}", remedy="; ".join(remedies), blockers=list(need.blockers))


def _remedy(blocker: str) -> str:
    """What frees the VM of one blocker; empty where nothing does that is cheap."""
    return next((remedy for start, remedy in _REMEDIES.items() if blocker.startswith(start)), "")


def can_restart_elsewhere(need: Need) -> bool:
    """Whether the VM can start on another host once its own is lost: no local disk, device or state is lost with it."""
    if need.local_disks:
        return False
    return need.movable or (
        bool(need.blockers) and all(blocker.startswith(_GONE_WITH_THE_GUEST) for blocker in need.blockers)
    )
