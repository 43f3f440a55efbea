"""Azure's arrivals replayed: how many VMs are accepted until the first is refused, beside first-fit and best-fit.

Hosts have 40 CPUs and 90 GiB. A VM is accepted where its memory fits and half a core per vCPU, which is expected of a
VM of which nothing is known, stays below the CPU limit: the same for all policies. VMs that no empty host can take are
left out. Without departures a run begins at one of several places of the trace. With departures the trace is thinned
to what so many hosts can just hold, whole deployments at a time, each run with other ones.
"""

import csv
import gzip
import heapq
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Final, NamedTuple

import numpy as np
import pytest

from scheduler.cluster.model import Host, Snapshot, Vm, VmState
from scheduler.planner.load import EXPECTED_CORES_PER_VCPU
from scheduler.planner.placement import Account, Placer
from scheduler.planner.settings import PlannerSettings
from tests.bench.table import Table

CPUS: Final = 40
MEMORY_MIB: Final = 90 * 1024
SETTINGS: Final = PlannerSettings()
LIMIT_CORES: Final = SETTINGS.cpu_usage_ratio_limit * CPUS
HOSTS_THAT_HOLD_ALL: Final = 50


class Arrival(NamedTuple):
    """A VM of the trace; `lives_s` is None when nothing ever leaves."""

    arrives_s: int
    batch: int
    lives_s: int | None
    vcpus: int
    memory_mib: int


class Policy:
    """A cluster of so many hosts that fills up by one rule."""

    def __init__(self, hosts: int) -> None:
        self.free_mib = np.full(hosts, MEMORY_MIB)
        self.cores = np.zeros(hosts)
        self._where: dict[int, tuple[int, Arrival]] = {}

    def order(self) -> np.ndarray:
        """The hosts, the one to be taken first."""
        raise NotImplementedError

    def accept(self, number: int, arrival: Arrival) -> bool:
        """Take that VM; False when it fits nowhere."""
        cores = EXPECTED_CORES_PER_VCPU * arrival.vcpus
        for host in self.order():
            if self.free_mib[host] >= arrival.memory_mib and self.cores[host] + cores <= LIMIT_CORES:
                self._where[number] = host, arrival
                self.free_mib[host] -= arrival.memory_mib
                self.cores[host] += cores
                return True
        return False

    def end(self, number: int) -> None:
        """That VM has ended."""
        host, arrival = self._where.pop(number)
        self.free_mib[host] += arrival.memory_mib
        self.cores[host] -= EXPECTED_CORES_PER_VCPU * arrival.vcpus


class FirstFit(Policy):
    """The first host that can take it."""

    def order(self) -> np.ndarray:
        return np.arange(len(self.free_mib))


class BestFit(Policy):
    """The host with the least free memory that can take it."""

    def order(self) -> np.ndarray:
        return np.argsort(self.free_mib, kind="stable")


class Ours:
    """The daemon's placement."""

    def __init__(self, hosts: int) -> None:
        machines = [Host(name=f"host{number:02}", cpus=CPUS, memory_mib=MEMORY_MIB) for number in range(hosts)]
        now = datetime(2026, 11, 23, tzinfo=UTC)
        self._placer = Placer(Snapshot(taken_at=now, hosts=tuple(machines), vms=()), SETTINGS)

    def accept(self, number: int, arrival: Arrival) -> bool:
        """Take that VM; False when it fits nowhere."""
        name, size = f"vm{number}", (arrival.vcpus, arrival.memory_mib)
        vm = Vm(name=name, uuid=name, vcpus=size[0], memory_mib=size[1], state=VmState.STOPPED)
        placement = self._placer.place(vm, Account(best=1))
        return bool(placement.ranking) and placement.ranking[0].terms["waiting"] == 0

    def end(self, number: int) -> None:
        """That VM has ended."""
        self._placer.stop(f"vm{number}")


POLICIES: Final[dict[str, Callable[[int], Policy | Ours]]] = {"first-fit": FirstFit, "best-fit": BestFit, "ours": Ours}


def accepted(policy: Policy | Ours, arrivals: Sequence[Arrival]) -> int:
    """How many are accepted before the first that is not."""
    ends: list[tuple[int, int]] = []
    for number, arrival in enumerate(arrivals):
        while ends and ends[0][0] <= arrival.arrives_s:
            policy.end(heapq.heappop(ends)[1])
        if not policy.accept(number, arrival):
            return number
        if arrival.lives_s is not None:
            heapq.heappush(ends, (arrival.arrives_s + arrival.lives_s, number))
    return len(arrivals)


def trace() -> list[Arrival]:
    """The sample in tests/bench/data, without the few VMs that are larger than a host."""
    with gzip.open(Path(__file__).parent / "data" / "azure_arrivals.csv.gz", "rt", encoding="utf-8") as lines:
        rows = [Arrival(*map(int, row.values())) for row in csv.DictReader(lines)]
    return [row for row in rows if row.memory_mib <= MEMORY_MIB]


def without_departures(hosts: int) -> Iterator[list[Arrival]]:
    """From twelve places of the trace; more arrive than fit."""
    rows = [row._replace(lives_s=None) for row in trace()]
    for run in range(12):
        start = run * len(rows) // 14
        yield rows[start : start + 40 * hosts]


def with_departures(hosts: int) -> Iterator[list[Arrival]]:
    """As many of the deployments as so many hosts hold; each run takes others, or begins elsewhere."""
    rows, one_of = trace(), max(1, HOSTS_THAT_HOLD_ALL // hosts)
    for run in range(max(4, min(10, one_of))):
        kept = [row for row in rows if row.batch % one_of == run % one_of]
        yield kept[run // one_of * len(kept) // 8 :]


@pytest.mark.parametrize("arrivals", [without_departures, with_departures])
def test_no_fewer_vms_are_accepted_than_by_first_fit_and_best_fit(
    arrivals: Callable[[int], Iterator[list[Arrival]]],
) -> None:
    table = Table(f"Azure's arrivals {arrivals.__name__.replace('_', ' ')}: VMs accepted until the first refusal, mean")
    table.add("hosts", "runs", *POLICIES)
    for hosts in (5, 20, 50):
        runs = list(arrivals(hosts))
        mean = {name: fmean(accepted(policy(hosts), run) for run in runs) for name, policy in POLICIES.items()}
        table.add(hosts, len(runs), *(f"{number:.1f}" for number in mean.values()))
        assert mean["ours"] >= max(mean["first-fit"], mean["best-fit"])
    table.show()
