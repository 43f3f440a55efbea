"""Small clusters for tests: a host is 16 CPUs and 64 GiB, a VM 2 vCPUs and 4 GiB that uses one core, unless said.

A VM that demands more has the vCPUs to do so.
"""

from datetime import UTC, datetime
from math import ceil
from typing import Any

from scheduler.cluster.model import Host, Snapshot, Vm, VmState
from scheduler.cluster.rules import Rules
from scheduler.filters import registry
from scheduler.filters.view import View


def host(name: str, **facts: Any) -> Host:
    return Host(**{"name": name, "cpus": 16, "memory_mib": 65536} | facts)


def vm(name: str, on: str | None = None, **facts: Any) -> Vm:
    usual: dict[str, Any] = {
        "name": name,
        "uuid": f"uuid-{name}",
        "vcpus": max(2, ceil(facts.get("cpu_demand_cores") or 0), ceil(facts.get("cpu_demand_high_cores") or 0)),
        "memory_mib": 4096,
        "host": on,
        "cpu_demand_cores": 1.0,
    }
    if on is None:
        usual["state"] = VmState.STOPPED
    return Vm(**usual | facts)


def cluster(hosts: list[Host], vms: list[Vm], rules: Rules | None = None) -> Snapshot:
    taken_at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    return Snapshot(taken_at=taken_at, hosts=tuple(hosts), vms=tuple(vms), rules=rules or Rules())


def verdict(snapshot: Snapshot, name: str, on: str) -> dict[str, str]:
    """The refusals of host `on` for the VM `name`, text by code; checked against the mask."""
    view = View(snapshot)
    need = view.need(view.vm_index(f"uuid-{name}"))
    reasons = registry.reasons(view, need, view.host_index[on])
    assert bool(registry.allowed(view, need)[view.host_index[on]]) == (not reasons)
    return {reason.code: reason.text for reason in reasons}
