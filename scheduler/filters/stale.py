"""Fresh data: a host whose figures are too old to decide on takes no VM."""

from ..cluster.reason import Reason
from .view import BoolArray, Need, View

CODE = "host_stale"


def mask(view: View, need: Need) -> BoolArray:  # noqa: ARG001 - every filter is asked the same way
    """Hosts with fresh figures, shape (hosts,)."""
    return ~view.stale


def reason(view: View, need: Need, host: int) -> Reason:  # noqa: ARG001
    """Why `host` is not judged; call only where `mask` is false."""
    return Reason(CODE, "its figures are too old to decide on")
