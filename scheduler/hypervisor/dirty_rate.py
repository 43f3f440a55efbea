"""How fast a guest writes to its memory, by QEMU's page sampling: some of its pages are looked at twice.

It costs the guest nothing, a host some milliseconds of one CPU. 512 pages of each GiB are looked at, so the rate of a
small guest is a rough one; and it never exceeds what one look at a page can tell, once a page and second.
"""

from .binding import Connection, libvirt
from .statistics import NOWAIT, counter

CALCULATION_S = 1
"""The shortest that libvirt takes."""


def begin(connection: Connection, uuid: str) -> None:
    """Have QEMU begin to look; returns at once. Raises LibvirtError."""
    connection.lookupByUUIDString(uuid).startDirtyRateCalc(CALCULATION_S)


def result_mib_per_s(connection: Connection, uuid: str) -> float | None:
    """What it found; None while it still looks. Raises LibvirtError."""
    domain = connection.lookupByUUIDString(uuid)
    for _, stats in connection.domainListGetStats([domain], libvirt.VIR_DOMAIN_STATS_DIRTYRATE, NOWAIT):
        if stats.get("dirtyrate.calc_status") == libvirt.VIR_DOMAIN_DIRTYRATE_MEASURED:
            rate = counter(stats, "dirtyrate.megabytes_per_second")
            return None if rate is None else float(rate)
    return None
