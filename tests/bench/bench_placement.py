"""How long one placement takes in a cluster of 1,000 hosts and 20,000 VMs, as the daemon asks for it."""

import time

import numpy as np

from scheduler.cluster.model import Vm, VmState
from scheduler.planner.placement import Placer
from scheduler.planner.settings import PlannerSettings
from tests.bench.clusters import generated
from tests.bench.table import Table


def test_a_placement_is_fast() -> None:
    snapshot = generated(1_000, 20_000, seed=1)
    placer = Placer(snapshot, PlannerSettings())
    seconds = []
    for number in range(300):
        vm = Vm(name=f"new{number}", uuid=f"new{number}", vcpus=4, memory_mib=8192, state=VmState.STOPPED)
        began = time.perf_counter()
        placement = placer.place(vm)
        seconds.append(time.perf_counter() - began)
        assert placement.host is not None
    table = Table("One placement, 1,000 hosts and 20,000 VMs, each after those before: milliseconds")
    table.add("median", "p99", "at most")
    table.add(*(f"{1000 * float(np.percentile(seconds, part)):.1f}" for part in (50, 99)), "5")
    table.show()
