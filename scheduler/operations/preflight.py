"""The last checks before a migration, which only the hosts themselves can make."""

from ..cluster.ports import (
    HypervisorCluster,
    HypervisorError,
    MemoryPortError,
    PeerError,
    RefusedError,
    UnsafeError,
)
from ..cluster.reason import Reason

CODE_PEER = "peer_unreachable"
CODE_MEMORY_PORT = "memory_port_blocked"
CODE_UNSAFE = "unsafe_disk"
CODE_SOURCE = "source_refuses"
CODE_UNANSWERED = "not_checked"
_TRY = "see which ways are open with `virt-scheduler check --connect`"
_OPEN = "open TCP ports 49152 to 49215 there for the other hosts, or name its first in `migration_port`"
_SAFE = "give its disks cache='none', and storage that libvirt knows as shared, or allow copy_storage"


async def preflight(cluster: HypervisorCluster, uuid: str, source: str, destination: str) -> tuple[Reason, ...]:
    """What the source's libvirt holds against migrating a running VM to `destination`; empty when nothing.

    The source really connects to the destination with its own credentials, makes the checks of its own that begin a
    migration, and sends packets to where the destination's QEMU will take in the memory, if that address is configured.
    """
    try:
        await cluster.probe_migration(uuid, source, destination)
    except PeerError as error:
        return (Reason(CODE_PEER, f"{source} cannot reach the libvirt of {destination}: {error.text}", remedy=_TRY),)
    except MemoryPortError as error:
        return (Reason(CODE_MEMORY_PORT, f"{source} cannot send memory to {destination}: {error.text}", remedy=_OPEN),)
    except UnsafeError as error:
        return (Reason(CODE_UNSAFE, f"the libvirt of {source} refuses: {error.text}", remedy=_SAFE),)
    except RefusedError as error:
        return (Reason(CODE_SOURCE, f"the libvirt of {source} refuses: {error.text}"),)
    except HypervisorError as error:
        return (Reason(CODE_UNANSWERED, f"could not be checked: {error}"),)
    return ()
