"""Domain type: the host must offer the VM's (kvm needs hardware that can). A host of unknown types is not refused."""

import numpy as np

from ..cluster.reason import Reason
from .view import BoolArray, Need, View

CODE = "domain_type"
_KVM = "switch virtualisation on in that host's firmware and load the kvm modules"


def mask(view: View, need: Need) -> BoolArray:
    """Hosts that offer the domain type of `need`, shape (hosts,)."""
    offered = (host.domain_types for host in view.hosts)
    return np.array(
        [need.domain_type is None or types is None or need.domain_type in types for types in offered], dtype=bool
    )


def reason(view: View, need: Need, host: int) -> Reason:
    """What `host` does not offer; call only where `mask` is false."""
    offered = ", ".join(sorted(view.hosts[host].domain_types or ()))
    text = f"offers no {need.domain_type}" + (f", only {offered}" if offered else "")
    remedy = _KVM if need.domain_type == "kvm" else ""
    return Reason(CODE, text, remedy=remedy, domain_type=need.domain_type)
