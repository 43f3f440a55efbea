"""Host state: only a host that is up takes VMs; one in maintenance or unreachable does not."""

from ..cluster.model import HostState
from ..cluster.reason import Reason
from .view import BoolArray, Need, View

CODE = "host_state"

_TEXTS = {HostState.MAINTENANCE: "is in maintenance", HostState.UNREACHABLE: "its libvirt does not answer"}


def mask(view: View, need: Need) -> BoolArray:  # noqa: ARG001 - every filter is asked the same way
    """Hosts that are up, shape (hosts,)."""
    return view.up


def reason(view: View, need: Need, host: int) -> Reason:  # noqa: ARG001
    """Why `host` takes no VM now; call only where `mask` is false."""
    state = view.hosts[host].state
    remedy = f"take {view.hosts[host].name} into use again: uncordon" if state is HostState.MAINTENANCE else ""
    return Reason(CODE, _TEXTS[state], remedy=remedy, state=state.value)
