import numpy as np
from numpy.typing import NDArray

from ..filters.view import IntArray
from .load import FloatArray

def anneal(
    vms: IntArray,
    takes: FloatArray,
    inverse: FloatArray,
    weights: FloatArray,
    allowed: NDArray[np.uint8],
    members: IntArray,
    limit: IntArray,
    where: IntArray,
    hosts: FloatArray,
    counts: IntArray,
    *,
    most: int,
    proposals: int,
    heat: tuple[float, float],
    seed: int,
) -> None:
    """Look for the best placement with at most `most` VMs away from home, and write it into `where`.

    All arrays are contiguous. What stays: `vms` are those that may move; `takes`, shape (vms, 7), is what each VM takes
    of cpu, memory, vcpus, cores, squared excess of high demand and MiB, and what moving it costs in score; `inverse`,
    shape (hosts, 3), is one over each capacity and `weights` those of the score; `allowed`, shape (kinds, hosts), are
    the static filters; `members`, shape (vms, most groups of a VM), are the groups of each VM, filled up with -1, and
    `limit` says how many of each group may share a host.

    What changes: `where`, shape (vms, 3), is the host, the home and the kind of each VM; `hosts`, shape (hosts, 6), the
    used parts of cpu, memory and vcpus, then the cores left, minus the squared excess, and the MiB left; `counts`,
    shape (groups, hosts), the members of each group. After the call only the first column of `where` is of use.

    `heat` is the first and the last temperature, and `seed` is not 0. The global interpreter lock is not held.
    """
