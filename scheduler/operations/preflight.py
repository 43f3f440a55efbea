"""The last checks before a migration, which only the hosts themselves can make."""

from ..cluster.ports import HypervisorCluster, HypervisorError, PeerError, RefusedError
from ..cluster.reason import Reason

CODE_PEER = "peer_unreachable"
CODE_SOURCE = "source_refuses"
CODE_UNANSWERED = "not_checked"
_TRY = "see which ways are open with `virt-scheduler check --connect`"


async def preflight(cluster: HypervisorCluster, uuid: str, source: str, destination: str) -> tuple[Reason, ...]:
    """What the source's libvirt holds against migrating a running VM to `destination`; empty when nothing.

    The source really connects to the destination with its own credentials, and makes the checks of its own that begin
    a migration. It does not show whether memory can be sent: the migration's own ports are not tried.
    """
    try:
        await cluster.probe_migration(uuid, source, destination)
    except PeerError as error:
        return (Reason(CODE_PEER, f"{source} cannot reach the libvirt of {destination}: {error.text}", remedy=_TRY),)
    except RefusedError as error:
        return (Reason(CODE_SOURCE, f"the libvirt of {source} refuses: {error.text}"),)
    except HypervisorError as error:
        return (Reason(CODE_UNANSWERED, f"could not be checked: {error}"),)
    return ()
