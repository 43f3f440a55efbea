"""Shortage: what the hosts of a cluster lack, as one figure in cores; the score of `contention`."""

from typing import Final

import numpy as np

from ..filters.view import IntArray
from .load import Carried, FloatArray, Load
from .objective import Term

MEMORY_WEIGHT: Final = 10.0
"""A GiB that a host does not have is as bad as this many cores that VMs wait for: it swaps, or kills a guest."""
EXPECTED_WEIGHT: Final = 0.1
"""What only the high demand lacks is lacked for a small part of the time: above a 95th percentile, for a twentieth."""


def terms(load: Load) -> tuple[Term, ...]:
    """Demand above what hosts can give, memory that they do not have, and what high demand adds."""
    every = np.arange(len(load.cpus))
    waiting, short_gib, expected = (float(part.sum()) for part in _parts(load, every, load.on(every)))
    return (
        Term(name="cpu_waiting", weight=1.0, unit="cores", value=waiting),
        Term(name="memory_short", weight=MEMORY_WEIGHT, unit="GiB", value=short_gib),
        Term(name="cpu_expected", weight=EXPECTED_WEIGHT, unit="cores", value=expected),
    )


def of_hosts(load: Load) -> FloatArray:
    """The shortage of each host, shape (hosts,)."""
    every = np.arange(len(load.cpus))
    return at(load, every, load.on(every))


def at(load: Load, hosts: IntArray, carried: Carried) -> FloatArray:
    """The shortage that `hosts` would have if they carried that; all of one shape."""
    waiting, short_gib, expected = _parts(load, hosts, carried)
    total: FloatArray = waiting + MEMORY_WEIGHT * short_gib + EXPECTED_WEIGHT * expected
    return total


def relief(load: Load, vms: IntArray) -> FloatArray:
    """By how much the shortage of its host falls when each of `vms` leaves, shape (vms,)."""
    hosts = load.view.vm_host[vms]
    now = load.on(hosts)
    fall: FloatArray = at(load, hosts, now) - at(load, hosts, now.minus(load.of(vms)))
    return fall


def _parts(load: Load, hosts: IntArray, carried: Carried) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Cores waited for, weighed by priority; GiB short; cores short only at high demand."""
    demand = carried.demand
    waiting = load.host_importance[hosts] * np.maximum(0.0, demand - load.given[hosts])
    short_gib = np.maximum(0.0, carried.memory_mib - load.view.capacity_mib[hosts]) / 1024
    expected = np.maximum(0.0, carried.high - np.maximum(demand, load.given_at_high[hosts]))
    return waiting, short_gib, expected
