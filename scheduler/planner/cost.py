"""What a live migration costs: how long it takes, how long the guest stands still, whether it ends at all.

Pre-copy carries the memory, then what the guest has dirtied meanwhile, and so on: each round takes `dirty rate /
bandwidth` of the one before. It ends when what is left fits into the allowed downtime.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..cluster.model import Vm
from ..cluster.plausible import believed_demand
from ..cluster.reason import Reason
from .settings import PlannerSettings

CODE = "will_not_converge"

SETUP_SECONDS: Final = 2.0
"""Connecting, starting the receiving QEMU, switching over: measured on idle small guests."""
MAX_DOWNTIME_SECONDS: Final = 0.3
CONVERGENCE_LIMIT: Final = 0.8
"""Above this part of the bandwidth, dirtied memory outruns a migration as soon as the guest gets a little busier."""
GUEST_SLOWDOWN: Final = 0.1
"""Part of its CPU that a guest loses to dirty page tracking while it is carried."""
HOST_CORES: Final = 1.0
"""CPU that sender and receiver spend together while carrying."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationCost:
    """A prediction."""

    seconds: float
    downtime_ms: float
    core_seconds: float
    """CPU that the migration takes from guests and hosts."""


def predict(vm: Vm, settings: PlannerSettings, bandwidth_mib_per_s: float | None = None) -> MigrationCost:
    """The cost of migrating `vm` at `bandwidth_mib_per_s`, or at the settings' when that link was never measured.

    For a VM that will not converge it is the cost of the rounds until the limit above, a lower bound.
    """
    bandwidth = bandwidth_mib_per_s or settings.bandwidth_mib_per_s
    memory = carried_mib(vm)
    ratio = min((vm.dirty_mib_per_s or 0.0) / bandwidth, CONVERGENCE_LIMIT)
    final = MAX_DOWNTIME_SECONDS * bandwidth
    rounds = max(1, ceil(log(final / memory) / log(ratio))) if ratio > 0 and memory > final else 1
    seconds = SETUP_SECONDS + memory / bandwidth * (1 - ratio**rounds) / (1 - ratio)
    return MigrationCost(
        seconds=seconds,
        downtime_ms=1000 * memory * ratio**rounds / bandwidth,
        core_seconds=seconds * (HOST_CORES + GUEST_SLOWDOWN * (believed_demand(vm) or 0.0)),
    )


def seconds_of(vms: Sequence[Vm], settings: PlannerSettings) -> NDArray[np.float64]:
    """The predicted duration of a migration of each of `vms`, shape (vms,)."""
    return np.array([predict(vm, settings).seconds for vm in vms], dtype=float)


def carried_mib(vm: Vm) -> float:
    """Memory that a migration has to carry; no figure makes it more than all of the VM's."""
    return float(vm.memory_mib if vm.memory_used_mib is None else min(vm.memory_used_mib, vm.memory_mib))


def convergence(vm: Vm, settings: PlannerSettings, bandwidth_mib_per_s: float | None = None) -> Reason | None:
    """Why a migration of `vm` would not end by itself; None when it would."""
    bandwidth = bandwidth_mib_per_s or settings.bandwidth_mib_per_s
    dirty = vm.dirty_mib_per_s or 0.0
    if dirty <= CONVERGENCE_LIMIT * bandwidth:
        return None
    return Reason(
        CODE,
        f"dirties {dirty:,.0f} MiB/s, a migration carries {bandwidth:,.0f} MiB/s and would not end",
        dirty_mib_per_s=dirty,
        bandwidth_mib_per_s=bandwidth,
    )
