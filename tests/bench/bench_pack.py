"""`pack` beside a lower bound: hosts that stay in use, and the time it takes to find them."""

import time
from collections.abc import Iterable
from itertools import accumulate

import pytest

from scheduler.cluster.model import Snapshot
from scheduler.planner.balance import plan
from scheduler.planner.settings import Objective, PlannerSettings
from tests.bench.clusters import generated
from tests.bench.table import Table

pytestmark = pytest.mark.timeout(600)

CLUSTERS = [(hosts, vms, mixed) for hosts, vms in ((10, 150), (30, 450), (100, 2_000)) for mixed in (False, True)]
SETTINGS = PlannerSettings(objective=Objective.PACK, time_limit_seconds=60.0)


def test_beside_a_lower_bound() -> None:
    table = Table("pack beside a lower bound: hosts in use")
    table.add("hosts", "VMs", "kind", "before", "after", "bound", "", "moves", "planning s")
    for hosts, vms, mixed in CLUSTERS:
        snapshot = generated(hosts, vms, seed=1, mixed=mixed)
        made = plan(snapshot, SETTINGS, clock=time.monotonic)
        after, bound = round(made.score_after), fewest_hosts(snapshot)
        table.add(
            hosts, vms, "mixed" if mixed else "equal", round(made.score_before), after, bound,
            f"{after / bound - 1:+.0%}", len(made.steps), f"{made.planning_seconds:.2f}",
        )  # fmt: skip
        assert bound <= after < made.score_before
    table.show()


def fewest_hosts(snapshot: Snapshot) -> int:
    """No fewer hosts hold all VMs within memory and CPU limit, and all memory with the largest of them lost."""
    memory_mib = sum(vm.memory_mib for vm in snapshot.vms if vm.active)
    demand = sum(vm.cpu_demand_cores or 0.0 for vm in snapshot.vms if vm.active)
    memory = sorted((host.memory_mib - host.reserved_memory_mib for host in snapshot.hosts), reverse=True)
    cpus = sorted((SETTINGS.cpu_usage_ratio_limit * host.cpus for host in snapshot.hosts), reverse=True)
    # Of the hosts that stay the largest is lost; whichever they are, the others hold no more than these.
    return max(1 + _first_to_hold(memory_mib, memory[1:]), _first_to_hold(demand, cpus))


def _first_to_hold(total: float, capacities: Iterable[float]) -> int:
    """How many of `capacities`, from the first on, hold `total`."""
    return next(number for number, held in enumerate(accumulate(capacities), start=1) if held >= total)
