"""The last checks before a migration, which only the hosts themselves can make."""

from typing import Final

from ..cluster.model import Vm
from ..cluster.ports import (
    CopyError,
    HypervisorCluster,
    HypervisorError,
    MemoryPortError,
    PeerError,
    RefusedError,
    UnsafeError,
)
from ..cluster.reason import Reason

CODE_UNANSWERED = "not_checked"
_REFUSALS: Final[dict[type[RefusedError], tuple[str, str, str]]] = {
    PeerError: (
        "peer_unreachable",
        "{source} cannot reach the libvirt of {destination}",
        "see which ways are open with `virt-scheduler check --connect`",
    ),
    MemoryPortError: (
        "memory_port_blocked",
        "{source} cannot send memory to {destination}",
        "open TCP ports 49152 to 49215 there for the other hosts, or name its first in `migration_port`",
    ),
    CopyError: (
        "disk_copy",
        "its disks cannot be copied to {destination}",
        "have a storage pool with room there, and move away what has the disk's name, if nothing needs it",
    ),
    UnsafeError: (
        "unsafe_disk",
        "the libvirt of {source} refuses",
        "put its disks on storage that libvirt knows as shared, with cache='none', or allow copy_storage",
    ),
    RefusedError: ("source_refuses", "the libvirt of {source} refuses", ""),
}
"""Its code, what it says before the host's own words, and what would help; the special kinds first."""


async def preflight(
    cluster: HypervisorCluster, vm: Vm, destination: str, *, memory_port: bool = False
) -> tuple[Reason, ...]:
    """What the hosts hold against migrating `vm`, which runs, to `destination`; empty when nothing.

    The source really connects to the destination with its own credentials, and makes the checks of its own that begin
    a migration. With `memory_port` it also sends packets to where the destination's QEMU would take in the memory.
    """
    source = vm.host or ""
    try:
        await cluster.probe_migration(vm.uuid, source, destination, vm.copied_disks)
        if memory_port:
            await cluster.probe_memory_port(source, destination)
    except RefusedError as error:
        kind = next(kind for kind in _REFUSALS if isinstance(error, kind))
        code, text, remedy = _REFUSALS[kind]
        told = text.format(source=source, destination=destination)
        return (Reason(code, f"{told}: {error.text}", remedy=remedy),)
    except HypervisorError as error:
        return (Reason(CODE_UNANSWERED, f"could not be checked: {error}"),)
    return ()
