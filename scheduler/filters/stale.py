"""Good data: a host whose figures are too old to decide on, or cannot be, takes no VM."""

from ..cluster.reason import Reason
from .view import BoolArray, Need, View

CODE = "host_stale"
CODE_DOUBTED = "host_implausible"


def mask(view: View, need: Need) -> BoolArray:  # noqa: ARG001 - every filter is asked the same way
    """Hosts with fresh figures that can be, shape (hosts,)."""
    return ~(view.stale | view.doubted)


def reason(view: View, need: Need, host: int) -> Reason:  # noqa: ARG001
    """Why `host` is not judged; call only where `mask` is false."""
    if not view.stale[host]:
        return Reason(CODE_DOUBTED, f"its figures are not believed: {view.doubts[view.hosts[host].name]}")
    return Reason(CODE, "its figures are too old to decide on")
