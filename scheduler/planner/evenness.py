"""Evenness: how far apart hosts are in each resource, and what every possible move would change about it.

score = sum over resources of weight x population standard deviation over hosts of used / capacity. The variance after
a move of a VM (amount m, share l of its source) to a host (inverse capacity i, used part u) is a sum of products of
something of the VM and something of the host, so the scores of all moves are one small matrix product a resource.
"""

from typing import Final, Self

import numpy as np

from ..filters.view import BoolArray, IntArray
from .load import FloatArray, Load

RESOURCES: Final = ("cpu", "memory", "vcpus")


class Evenness:
    """The use of each resource on the hosts that balancing looks at, following moves one by one."""

    def __init__(self, load: Load) -> None:
        view = load.view
        capacity_mib = np.maximum(1.0, view.capacity_mib)
        self.weights: FloatArray = np.array([load.settings.weights.get(name, 0.0) for name in RESOURCES])
        self.judged: BoolArray = load.judged
        self.count = max(1, int(load.judged.sum()))
        self.inverse: FloatArray = 1 / np.stack([load.cpus, capacity_mib, load.cpus])
        """One over capacity, shape (resources, hosts)."""
        self.amount: FloatArray = np.stack([load.demand, view.memory_mib.astype(float), load.vcpus])
        """What each VM takes, shape (resources, VMs)."""
        self.used: FloatArray = self.inverse * np.stack(
            [load.host_demand, (view.capacity_mib - view.free_memory_mib).astype(float), load.host_vcpus]
        )
        """Part of each host's capacity, shape (resources, hosts)."""

    def copy(self) -> Self:
        """An independent one to try moves on."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.used = self.used.copy()
        return twin

    def move(self, vm: int, source: int, destination: int) -> None:
        """Follow one move."""
        self.used[:, source] -= self.amount[:, vm] * self.inverse[:, source]
        self.used[:, destination] += self.amount[:, vm] * self.inverse[:, destination]

    def deviations(self) -> FloatArray:
        """The unweighted terms of the score, shape (resources,)."""
        judged = self.used[:, self.judged]
        spread: FloatArray = judged.std(axis=1) if judged.shape[1] else np.zeros(len(RESOURCES))
        return spread

    def score(self) -> float:
        """Lower is more even."""
        return float(self.weights @ self.deviations())

    def pressure(self) -> FloatArray:
        """How far each host is above the others in each resource that counts, in deviations, (resources, hosts)."""
        centre = self.used[:, self.judged].mean(axis=1, keepdims=True)
        above: FloatArray = (self.used - centre) / np.maximum(1e-12, self.deviations())[:, np.newaxis]
        return self.weights[:, np.newaxis] * above

    def after(self, vms: IntArray, sources: IntArray, hosts: IntArray) -> FloatArray:
        """The score after each move of `vms` from their `sources` to `hosts`, shape (vms, hosts)."""
        total: FloatArray = np.zeros((len(vms), len(hosts)))
        for resource in np.flatnonzero(self.weights):
            of_vms, of_hosts = self._factors(int(resource), vms, sources, hosts)
            variance = of_vms @ of_hosts
            np.maximum(variance, 0.0, out=variance)
            np.sqrt(variance, out=variance)
            variance *= self.weights[resource]
            total += variance
        return total

    def after_each(self, vms: IntArray, sources: IntArray, hosts: IntArray) -> FloatArray:
        """The score after each move of `vms[i]` from `sources[i]` to `hosts[i]`, shape (vms,)."""
        total: FloatArray = np.zeros(len(vms))
        for resource in np.flatnonzero(self.weights):
            of_vms, of_hosts = self._factors(int(resource), vms, sources, hosts)
            variance = np.einsum("vf,fv->v", of_vms, of_hosts)
            total += self.weights[resource] * np.sqrt(np.maximum(0.0, variance))
        return total

    def _factors(
        self, resource: int, vms: IntArray, sources: IntArray, hosts: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Of VMs (vms, 4) and of hosts (4, hosts): their product is the variance after each move."""
        count, used, inverse = self.count, self.used[resource], self.inverse[resource]
        centre = used[self.judged].mean()
        square = float(((used[self.judged] - centre) ** 2).mean())
        amount = self.amount[resource, vms]
        share = amount * inverse[sources]
        leaving = square + share * (share - 2 * (used[sources] - centre)) / count - (share / count) ** 2
        of_vms = np.stack([amount**2, amount, amount * share, leaving], axis=1)
        to, one = inverse[hosts], np.ones(len(hosts))
        of_hosts = np.stack(
            [to**2 * (1 / count - 1 / count**2), 2 * to * (used[hosts] - centre) / count, 2 * to / count**2, one]
        )
        return of_vms, of_hosts
