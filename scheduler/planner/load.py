"""Load: CPU demand against what hosts can give, as arrays that follow moves one by one.

Demand is what VMs use plus what they wait for. How much a host can give is learned from the VMs themselves: where
they wait, all that is used is all there is, whatever the number of CPUs promises; elsewhere it is
`cpu_usage_ratio_limit` of the CPUs.

The high demand of a host is not the sum of its VMs' high demands, which do not come at the same moment. By how much
each exceeds its mean is taken as so many standard deviations; variances of independent demands add, so the host's is
`sum of means + sqrt(sum of (high - mean)^2)`. One VM's excess counts in full; VMs that rise together show it in their
means soon.
"""

from collections import Counter
from functools import cached_property
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..cluster.model import Host, HostState, Vm, VmState
from ..cluster.plausible import believed_demand, doubted_demand
from ..cluster.rules import PRIORITY_WEIGHTS
from ..filters.view import NOWHERE, BoolArray, IntArray, View
from .cost import MigrationCost, Paces, predict
from .plan import waiting_cores
from .settings import PlannerSettings
from .soft import SoftRules

FloatArray = NDArray[np.float64]


class Carried(NamedTuple):
    """What VMs add up to, each of one shape: of a host, of a VM, or of a host after changes."""

    demand: FloatArray
    excess_squared: FloatArray
    memory_mib: FloatArray

    @property
    def column(self) -> "Carried":
        """The same as a column, to be joined with a row."""
        return Carried(*(part[:, np.newaxis] for part in self))

    def plus(self, other: "Carried") -> "Carried":
        """Both together."""
        return Carried(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def minus(self, other: "Carried") -> "Carried":
        """This without the other."""
        return Carried(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def high(self) -> FloatArray:
        """High demand."""
        return together(self.demand, self.excess_squared)


RELIEF_MARGIN_RATIO: Final = 0.05
"""Contention is relieved to this much below the limit, and expected from this much above it, so that noise neither
brings it back nor foresees it."""
ROUNDING_CORES: Final = 1e-6
"""Sums of demand that differ by less are equal."""
EXPECTED_CORES_PER_VCPU: Final = 0.5
"""Demand of a VM about to start of which nothing is known yet."""
_ALL: Final = slice(None)


class Load:
    """Demand of all VMs and hosts of a view, in cores. Indices are those of the view, which moves along."""

    def __init__(self, view: View, settings: PlannerSettings) -> None:
        self.view = view
        self.settings = settings
        vms = view.vms
        self.known: BoolArray = np.array([believed_demand(vm) is not None for vm in vms], dtype=bool)
        self.vcpus: FloatArray = np.array([vm.vcpus for vm in vms], dtype=float)
        self.demand: FloatArray = np.array([_demand(vm) for vm in vms], dtype=float)
        self.high: FloatArray = np.array([_high(vm) for vm in vms], dtype=float)
        self.excess_squared: FloatArray = (self.high - self.demand) ** 2
        """Of the high demand over the mean, in cores squared."""
        self.flavours: Counter[tuple[int, float]] = Counter(
            zip(view.memory_mib[view.active].tolist(), self.vcpus[view.active].tolist(), strict=True)
        )
        """Memory in MiB and vCPUs of the VMs that run, and how many are so."""
        # A host that was never seen has none; it takes part in nothing, and must not be divided by either.
        self.cpus: FloatArray = np.array([max(1, host.cpus) for host in view.hosts], dtype=float)
        self.importance: FloatArray = np.array([PRIORITY_WEIGHTS[int(one)] for one in view.priority], dtype=float)
        """The weight of each VM's priority, shape (vms,)."""
        self.paces = Paces(view.snapshot, settings)
        self.firm = True
        """Whether soft rules are kept by all moves, rather than weighed."""
        self._soft: SoftRules | None = None
        self._closed = _closed(view)
        self._place_vms()
        self._judge_hosts()

    def _place_vms(self) -> None:
        """Sum up what each host carries. A VM on its way counts where it goes, and for waiting where it still is."""
        hosts, size = self.view.hosts, len(self.view.hosts)
        self.counted: BoolArray = self.view.active & self.known
        """VMs whose demand is part of their host's; it is unknown of the others, and so never evidence."""
        self.host_demand: FloatArray = np.zeros(size)
        self.host_excess_squared: FloatArray = np.zeros(size)
        self.host_vcpus: FloatArray = np.zeros(size)
        self.measured_waiting: FloatArray = np.zeros(size)
        self.worst_wait_ratio: FloatArray = np.zeros(size)
        self._leaving: FloatArray = np.zeros(size)
        for index in np.flatnonzero(self.view.active):
            vm, home = self.view.vms[index], int(self.view.vm_host[index])
            self.measured_waiting[home] += waiting_cores(vm)
            self.worst_wait_ratio[home] = max(self.worst_wait_ratio[home], vm.cpu_wait_ratio or 0.0)
            place = home if vm.destination is None else self.view.host_index[vm.destination]
            self.host_vcpus[place] += vm.vcpus
            if not self.counted[index]:
                continue
            self.host_demand[place] += self.demand[index]
            self.host_excess_squared[place] += self.excess_squared[index]
            if place != home:
                self._leaving[home] += self.demand[index]
        served = np.zeros(size)
        present = np.flatnonzero(self.counted)
        np.add.at(served, self.view.vm_host[present], self.demand[present])
        served -= self.measured_waiting
        used = np.array([np.nan if host.cpu_used_cores is None else host.cpu_used_cores for host in hosts])
        used[self.view.doubted] = np.nan
        self._dark: BoolArray = np.zeros(size, dtype=bool)
        """Hosts with running VMs of unknown demand where nobody has measured either what the whole host uses."""
        running = np.array([vm.state is VmState.RUNNING for vm in self.view.vms], dtype=bool)
        self._dark[self.view.vm_host[running & ~self.known]] = True
        self._dark &= np.isnan(used)
        self.other: FloatArray = np.where(np.isnan(used), 0.0, np.maximum(0.0, used - served))
        weighed, plain = np.zeros((2, size))
        for total, share in ((weighed, self.importance * self.demand), (plain, self.demand)):
            np.add.at(total, self.view.vm_host[present], share[present])
        self.host_importance: FloatArray = np.divide(weighed, plain, out=np.ones(size), where=plain > 1e-9)
        """What a core that each host lacks weighs: the mean weight of its VMs' priorities by demand.

        Moves do not change it: it is those VMs that wait."""
        self.host_demand += self.other

    def _judge_hosts(self) -> None:
        """Which hosts are contended, for long enough to act on, and how much each can give."""
        hosts, settings = self.view.hosts, self.settings
        relief_limit = (settings.cpu_usage_ratio_limit - RELIEF_MARGIN_RATIO) * self.cpus
        limit = settings.cpu_usage_ratio_limit * self.cpus
        waiting = self.worst_wait_ratio > settings.cpu_wait_ratio_limit
        short = self.view.free_memory_mib < 0
        self.contended: BoolArray = waiting | (self.host_demand > limit) | short
        used = np.maximum(0.0, self.host_demand + self._leaving - self.measured_waiting)
        self.given: FloatArray = np.where(waiting, np.minimum(used, relief_limit), limit)
        """Cores that the host can give to all it runs."""
        self.given = np.where(self.contended & ~waiting, relief_limit, self.given)
        self.room: FloatArray = np.where(waiting | self._dark, 0.0, relief_limit)
        """Cores of high demand up to which relief may fill a host; none where VMs wait, whatever is used there,
        and none where nobody knows what is used."""
        foreseen = self.host_high > limit
        ahead = (settings.cpu_usage_ratio_limit + RELIEF_MARGIN_RATIO) * self.cpus
        self.expected: BoolArray = (self.host_high > ahead) & ~self.contended
        """Hosts whose VMs will wait, by their high demand, and do not yet."""
        self.given_at_high: FloatArray = np.where(foreseen, relief_limit, limit)
        """Cores that the host can give when demand is high."""
        held = np.array([_lasted(host.contended_seconds, settings.hold_seconds) for host in hosts], dtype=bool)
        ahead_s = settings.expected_hold_seconds
        foretold = np.array([_lasted(_expected_seconds(host), ahead_s) for host in hosts], dtype=bool)
        reachable = [host.state is not HostState.UNREACHABLE and not host.stale for host in hosts]
        self.to_relieve: BoolArray = self.contended & held | self.expected & foretold
        self.to_relieve &= np.array(reachable, dtype=bool) & ~self.view.doubted
        self.usable: BoolArray = self.view.up & ~self.view.stale & ~self.view.doubted
        """Hosts on which VMs may start."""
        self.judged: BoolArray = self.usable & ~self._dark
        """Hosts that balancing looks at."""

    def closed(self, vms: IntArray) -> BoolArray:
        """Hosts to which balancing does not move each of `vms` for now, shape (vms, hosts).

        While `firm`, also those where more soft rules would be broken than are now.
        """
        if self._closed is None:
            closed: BoolArray = np.zeros((len(vms), len(self.view.hosts)), dtype=bool)
        else:
            closed = self._closed[vms]
        if self.firm and self.soft:
            closed = closed | (self.soft.change(self.view, vms) > 0)
        return closed

    @property
    def soft(self) -> SoftRules:
        """The soft rules, made when they are first asked for."""
        if self._soft is None:
            self._soft = SoftRules(self.view)
        return self._soft

    def move(self, vm: int, host: int) -> None:
        """Put that VM on `host`, here and in the view."""
        source = int(self.view.vm_host[vm])
        if self.view.active[vm] and source != NOWHERE:
            self.host_vcpus[source] -= self.vcpus[vm]
            if self.counted[vm]:
                self.host_demand[source] -= self.demand[vm]
                self.host_excess_squared[source] -= self.excess_squared[vm]
        else:
            self.flavours[self._flavour(vm)] += 1
        self.counted[vm] = True
        self.host_demand[host] += self.demand[vm]
        self.host_excess_squared[host] += self.excess_squared[vm]
        self.host_vcpus[host] += self.vcpus[vm]
        self.view.move(vm, host)

    def stop(self, vm: int) -> None:
        """Take that running VM, whose demand is counted, from its host, here and in the view."""
        host = int(self.view.vm_host[vm])
        self.host_vcpus[host] -= self.vcpus[vm]
        self.host_demand[host] -= self.demand[vm]
        self.host_excess_squared[host] -= self.excess_squared[vm]
        self.counted[vm] = False
        self.flavours[self._flavour(vm)] -= 1
        self.view.stop(vm)

    def depart(self, vm: int, host: int) -> None:
        """That running VM is on its way to `host`: its demand counts there, its room in the view on both."""
        for place, sign in ((int(self.view.vm_host[vm]), -1), (host, 1)):
            self.host_vcpus[place] += sign * self.vcpus[vm]
            self.host_demand[place] += sign * self.demand[vm]
            self.host_excess_squared[place] += sign * self.excess_squared[vm]
        self.view.hold(vm, host)

    def expect(self) -> None:
        """Count what is expected of running VMs of unknown demand: right for placing, never evidence of contention."""
        for vm in np.flatnonzero(self.view.active & ~self.counted):
            destination = self.view.vms[vm].destination
            place = self.view.vm_host[vm] if destination is None else self.view.host_index[destination]
            self.host_demand[place] += self.demand[vm]
            self.host_excess_squared[place] += self.excess_squared[vm]
        self.counted = self.view.active.copy()

    def add(self, vm: Vm) -> int:
        """Take in one more VM, stopped, here and in the view; returns its index."""
        demand = _demand(vm)
        self.known = np.append(self.known, believed_demand(vm) is not None)
        self.counted = np.append(self.counted, False)
        self.vcpus = np.append(self.vcpus, float(vm.vcpus))
        self.demand = np.append(self.demand, demand)
        self.high = np.append(self.high, _high(vm))
        self.excess_squared = np.append(self.excess_squared, (self.high[-1] - demand) ** 2)
        self._soft = None
        for known in ("leaving", "leaving_seconds"):
            self.__dict__.pop(known, None)
        index = self.view.add(vm)
        self.importance = np.append(self.importance, PRIORITY_WEIGHTS[int(self.view.priority[index])])
        return index

    @cached_property
    def leaving(self) -> tuple[MigrationCost, ...]:
        """What migrating each VM off the host it was found on costs, wherever it goes."""
        return tuple(predict(vm, self.paces.leaving(vm)) for vm in self.view.vms)

    @cached_property
    def leaving_seconds(self) -> FloatArray:
        """How long that takes, shape (vms,)."""
        return np.array([cost.seconds for cost in self.leaving], dtype=float)

    def cost_between(self, vm: int, source: int, destination: int) -> MigrationCost:
        """What a migration of `vm` from one host to another costs."""
        facts, hosts = self.view.vms[vm], self.view.hosts
        return predict(facts, self.paces.between(facts, hosts[source].name, hosts[destination].name))

    def copy(self) -> Self:
        """An independent load and view to try moves on."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.view = self.view.copy()
        for name in ("counted", "host_demand", "host_excess_squared", "host_vcpus"):
            setattr(twin, name, getattr(self, name).copy())
        twin.flavours = self.flavours.copy()
        return twin

    def on(self, hosts: IntArray) -> Carried:
        """What each of `hosts` carries, shape (hosts,)."""
        return Carried(
            self.host_demand[hosts],
            self.host_excess_squared[hosts],
            (self.view.capacity_mib - self.view.free_memory_mib)[hosts].astype(float),
        )

    def of(self, vms: IntArray) -> Carried:
        """What each of `vms` is, shape (vms,)."""
        return Carried(
            self.demand[vms],
            self.excess_squared[vms],
            self.view.memory_mib[vms].astype(float),
        )

    @property
    def host_high(self) -> FloatArray:
        """The high demand of each host, shape (hosts,)."""
        return together(self.host_demand, self.host_excess_squared)

    def high_with(self, vms: int | IntArray, hosts: IntArray | slice = _ALL) -> FloatArray:
        """The high demand of each of `hosts` with one of `vms` joining it, shape (hosts,) or (vms, hosts)."""
        demand, excess_squared = self.demand[vms], self.excess_squared[vms]
        return together(
            self.host_demand[hosts] + demand[..., np.newaxis],
            self.host_excess_squared[hosts] + excess_squared[..., np.newaxis],
        )

    def fits_at_high(self, vm: int, limit: FloatArray) -> IntArray:
        """How many VMs like that one each host takes before its high demand is above `limit`, shape (hosts,).

        The largest n with `demand + n d + sqrt(squares + n e^2) <= limit`, from the smaller root of its square.
        """
        demand, excess_squared = float(self.demand[vm]), float(self.excess_squared[vm])
        left = np.maximum(0.0, limit - self.host_demand)
        linear = 2 * left * demand + excess_squared
        spare = np.maximum(0.0, left**2 - self.host_excess_squared)
        root = np.sqrt(np.maximum(0.0, linear**2 - 4 * demand**2 * spare))
        number: IntArray = np.floor(2 * spare / np.maximum(1e-12, linear + root) + 1e-9).astype(np.int64)
        return number

    def _flavour(self, vm: int) -> tuple[int, float]:
        return int(self.view.memory_mib[vm]), float(self.vcpus[vm])

    def waiting(self) -> FloatArray:
        """Cores of demand above what each host can give, shape (hosts,)."""
        return np.maximum(0.0, self.host_demand - self.given)

    def memory_short_gib(self) -> FloatArray:
        """Memory that VMs hold above what each host has for them, shape (hosts,)."""
        short: FloatArray = np.maximum(0, -self.view.free_memory_mib) / 1024
        return short

    def within_cpus(self, cores: float) -> BoolArray:
        """Hosts whose demand is no more than their CPUs with so many cores more of it, shape (hosts,)."""
        within: BoolArray = self.host_demand + cores <= self.cpus + ROUNDING_CORES
        return within

    def rows_of(self, hosts: BoolArray) -> IntArray:
        """Running VMs on any of `hosts`."""
        on = np.zeros(len(self.view.vms), dtype=bool)
        placed = self.view.vm_host != NOWHERE
        on[placed] = hosts[self.view.vm_host[placed]]
        return np.flatnonzero(on & self.view.active)


def together(demand: FloatArray, excess_squared: FloatArray) -> FloatArray:
    """The high demand of VMs whose means and whose squared excesses sum up to these."""
    # Rounded: what taking VMs out again leaves of nothing would have a root that is not small.
    high: FloatArray = demand + np.sqrt(np.maximum(0.0, np.round(excess_squared, 9)))
    return high


def _demand(vm: Vm) -> float:
    demand = believed_demand(vm)
    return EXPECTED_CORES_PER_VCPU * vm.vcpus if demand is None else demand


def _high(vm: Vm) -> float:
    return _demand(vm) if doubted_demand(vm) is not None else max(_demand(vm), vm.cpu_demand_high_cores or 0.0)


def _lasted(seconds: float | None, hold_seconds: float) -> bool:
    """Whether that is long enough to act on; what is not tracked is."""
    return seconds is None or seconds >= hold_seconds


def _expected_seconds(host: Host) -> float | None:
    """How long contention has been expected; who tracks contention alone has seen no more of it than that."""
    expected = host.expected_contended_seconds
    return host.contended_seconds if expected is None else expected


def _closed(view: View) -> BoolArray | None:
    """`Load.closed` of all VMs; None when no VM is kept from any host, which is how it mostly is."""
    if not any(vm.not_to for vm in view.vms):
        return None
    closed = np.zeros((len(view.vms), len(view.hosts)), dtype=bool)
    for index, vm in enumerate(view.vms):
        for host in vm.not_to.keys() & view.host_index.keys():
            closed[index, view.host_index[host]] = True
    return closed
