"""CPU features: yes, no with the features that are missing, or unknown.

The host's own libvirt is believed first; where it was not asked, the features that the guest sees are compared with
those of the host. A VM that names a CPU no one can judge is not migrated live there (it might crash on an instruction
that is gone), but may start there: a start fails at once and harms nobody. A VM that states nothing is not refused.
"""

import numpy as np

from ..cluster.reason import Reason
from .view import BoolArray, Need, View

CODE = "cpu_missing"
CODE_UNKNOWN = "cpu_unknown"
_REMEDY = "give it the CPU of `matrix --baseline`, which all hosts have, and start it anew"


def mask(view: View, need: Need) -> BoolArray:
    """Hosts whose CPU can run `need`, shape (hosts,)."""
    if need.required_cpu_features is None and not need.cpu_missing_on:
        return np.ones(len(view.hosts), dtype=bool)
    missing = (_missing(view, need, host) for host in range(len(view.hosts)))
    return np.array([not need.live if lacks is None else not lacks for lacks in missing], dtype=bool)


def reason(view: View, need: Need, host: int) -> Reason:
    """What the CPU of `host` lacks, or that nobody knows; call only where `mask` is false."""
    missing = _missing(view, need, host)
    if missing is None:
        return Reason(CODE_UNKNOWN, "whether its CPU can run the VM is unknown")
    names = sorted(missing)
    return Reason(CODE, f"CPU lacks {', '.join(names)}", remedy=_REMEDY, missing=names)


def _missing(view: View, need: Need, host: int) -> frozenset[str] | None:
    """What `host` lacks for `need`; None when that is unknown."""
    if need.live and host == need.host:
        return frozenset()
    facts = view.hosts[host]
    if facts.name in need.cpu_missing_on:
        return need.cpu_missing_on[facts.name]
    if need.required_cpu_features is None or facts.cpu_features is None:
        return None
    return need.required_cpu_features - facts.cpu_features
