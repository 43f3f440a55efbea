"""What a lab should be: its hosts, their CPU generation, cores, memory and share of this machine."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import LabError

UNMODIFIED_CPU = "host"
"""The CPU model of a host that keeps all that QEMU emulates."""

CPU_GENERATIONS = ("Nehalem", "Westmere", "Haswell-noTSX")
"""Xeon 5500, Xeon 5600 and the Xeon E5-2600 with AVX2, oldest first."""

MAX_HOSTS = 200
"""Host addresses end in 1 to 200."""

_MACHINE_SHARE = 0.9
_CORES_BY_POSITION = (1, 1, 2)


@dataclass(frozen=True, slots=True)
class HostSpec:
    """One host.

    `cpus` and `memory_mib` are what it reports. `cpu_quota_cores` is what its libvirtd and all its guests together
    really get of this machine's cores; the host reports itself fully busy when that is used up.
    """

    name: str
    cpu_model: str = UNMODIFIED_CPU
    cpus: int = 1
    memory_mib: int = 1024
    cpu_quota_cores: float = 0.5
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name.isalnum() or len(self.name) > 12:
            raise LabError(f"host name {self.name!r}: must be 1 to 12 letters and digits")
        if self.cpus < 1 or self.memory_mib < 256 or self.cpu_quota_cores < 0.05:
            raise LabError(f"host {self.name}: needs 1 core, 256 MiB and a CPU quota of 0.05 cores or more")


@dataclass(frozen=True, slots=True)
class LabSpec:
    """The whole lab. `network` is a /16, given by its first two numbers; labs never see each other's."""

    hosts: tuple[HostSpec, ...]
    network: str = "10.66"

    def __post_init__(self) -> None:
        names = [host.name for host in self.hosts]
        if not 1 <= len(names) <= MAX_HOSTS:
            raise LabError(f"a lab has 1 to {MAX_HOSTS} hosts, not {len(names)}")
        if len(set(names)) != len(names):
            raise LabError(f"host names must differ: {', '.join(names)}")

    def as_dict(self) -> dict[str, Any]:
        """The spec as plain data; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LabSpec:
        """The spec that `as_dict` wrote."""
        return cls(tuple(HostSpec(**host) for host in data["hosts"]), data["network"])


def default_spec(hosts: int = 3, machine_cores: int | None = None) -> LabSpec:
    """`hosts` hosts, named node1 on, of the three CPU generations in turn.

    One reported core is worth the same part of a machine core on each of them, and all quotas together leave a tenth
    of the machine free.
    """
    if not 1 <= hosts <= MAX_HOSTS:
        raise LabError(f"a lab has 1 to {MAX_HOSTS} hosts, not {hosts}")
    cpus = [_CORES_BY_POSITION[position % len(_CORES_BY_POSITION)] for position in range(hosts)]
    cores = machine_cores or len(os.sched_getaffinity(0))
    core_worth = min(1.0, _MACHINE_SHARE * cores / sum(cpus))
    return LabSpec(
        tuple(
            HostSpec(
                name=f"node{position + 1}",
                cpu_model=CPU_GENERATIONS[position % len(CPU_GENERATIONS)],
                cpus=cpus[position],
                cpu_quota_cores=max(0.05, round(core_worth * cpus[position], 3)),
                labels={"rack": "abc"[position % 3]},
            )
            for position in range(hosts)
        )
    )
