"""What `hosts` shows of each host, from the snapshot and the connections. Pure."""

from collections.abc import Sequence

from ..cluster.model import Host, HostState, Vm
from ..web.control import HostStatus


def host_status(
    host: Host,
    vms: Sequence[Vm],
    *,
    uri: str,
    detail: str,
    age_s: float | None,
    flag: str,
    slots: tuple[int, int],
) -> HostStatus:
    """One host as people see it. `vms` are the active ones that are on it or on their way to it.

    `detail` is the connection's error, `flag` is `cordoned`, `draining` or empty.
    """
    known = host.memory_mib > 0
    committed_mib = sum(vm.memory_mib for vm in vms)
    inbound, outbound = slots
    return HostStatus(
        name=host.name,
        state=host.state.value,
        detail=_detail(host, detail, age_s, flag),
        uri=uri,
        cpus=host.cpus if known else None,
        cpu_model=host.cpu_model,
        cpu_used_cores=host.cpu_used_cores,
        memory_mib=host.memory_mib if known else None,
        reserved_memory_mib=host.reserved_memory_mib,
        committed_memory_mib=committed_mib,
        free_memory_mib=host.memory_mib - host.reserved_memory_mib - committed_mib if known else None,
        vms_running=sum(vm.host == host.name for vm in vms),
        inbound=inbound,
        outbound=outbound,
        contended_seconds=host.contended_seconds,
        labels=dict(host.labels),
    )


def same_machine_as(host: str) -> str:
    """Said of a host whose libvirt says that it is that one."""
    return f"has the host UUID of {host}: if it is not the same machine, set host_uuid in libvirtd.conf"


def _detail(host: Host, detail: str, age_s: float | None, flag: str) -> str:
    if host.state is HostState.UNREACHABLE:
        return detail
    if host.stale and age_s is not None:
        return f"figures are {age_s:.0f} s old"
    return flag
