"""Counters of a host and its domains, read from libvirt's statistics. What is missing is None, never 0."""

from ..cluster.model import VmState
from .binding import Connection, LibvirtError, Stats, libvirt
from .errors import code_of

DOMAIN_GROUPS: int = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_VCPU
)

NOWAIT: int = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
"""Skip what a busy domain (one that migrates, say) could only tell later, so that it holds up no other."""

_PAUSED = {libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED, libvirt.VIR_DOMAIN_CRASHED}


def vm_state(stats: Stats, domain_id: int | None) -> VmState:
    """The state; a crashed domain that is kept for inspection still holds its memory, so it is paused."""
    if domain_id is None:
        return VmState.STOPPED
    return VmState.PAUSED if stats.get("state.state") in _PAUSED else VmState.RUNNING


def counter(stats: Stats, key: str) -> int | None:
    """A counter, or None when libvirt did not tell it."""
    value = stats.get(key)
    return None if value is None else int(value)


def vcpu_delay_ns(stats: Stats) -> int | None:
    """Sum over vCPUs of the time they were runnable but waited for a CPU."""
    delays = [
        int(value)
        for key, value in stats.items()
        if key.startswith("vcpu.") and key.endswith(".delay") and key.split(".")[1].isdigit()
    ]
    return sum(delays) if delays else None


def memory_used_mib(stats: Stats) -> float | None:
    """Memory the guest has ever touched and not given back: what a migration carries.

    QEMU's resident size counts its own few dozen MiB, hence not more than the balloon allows.
    """
    rss_kib = counter(stats, "balloon.rss")
    if rss_kib is None:
        return None
    current_kib = counter(stats, "balloon.current")
    return (rss_kib if current_kib is None else min(rss_kib, current_kib)) / 1024


def host_cpu_busy_ns(connection: Connection) -> int | None:
    """CPU time that the host has spent on anything since it booted, summed over its CPUs."""
    try:
        times = connection.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS)
    except LibvirtError as error:
        _raise_unless_unsupported(error)
        return None
    parts = [times[key] for key in ("kernel", "user", "intr") if key in times]
    return sum(parts) if parts else None


def host_memory_mib(connection: Connection) -> tuple[float, float] | None:
    """Total and available memory of the host as its kernel tells it."""
    try:
        kib = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    except LibvirtError as error:
        _raise_unless_unsupported(error)
        return None
    if "total" not in kib or "free" not in kib:
        return None
    return kib["total"] / 1024, (kib["free"] + kib.get("buffers", 0) + kib.get("cached", 0)) / 1024


def _raise_unless_unsupported(error: Exception) -> None:
    """Let pass that a driver cannot tell; anything else is an error."""
    if code_of(error) not in {libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_UNSUPPORTED}:
        raise error
