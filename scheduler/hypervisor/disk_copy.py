"""Whether a host can take in copies of disks, by its own libvirt.

A live migration creates the files itself, in the storage pool that is the directory of each. Into a file that is there
already it would copy just the same, whosever that is: so such a file is a refusal.
"""

from collections import defaultdict
from collections.abc import Sequence
from posixpath import basename

from ..cluster.model import LocalDisk
from ..cluster.ports import CopyError
from .binding import Connection, LibvirtError, libvirt
from .errors import code_of, connection_broken, domain_of

_MIB = 1024 * 1024


def check(connection: Connection, host: str, disks: Sequence[LocalDisk]) -> None:
    """Return when `host` has a pool and room for copies of all of them, and no file of that name. Raises CopyError."""
    together: defaultdict[str, list[LocalDisk]] = defaultdict(list)
    for disk in disks:
        together[disk.directory].append(disk)
    for directory, wanted in together.items():
        try:
            pool = connection.storagePoolLookupByTargetPath(directory)
        except LibvirtError as error:
            if code_of(error) == libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise CopyError(host, f"has no storage pool at {directory}") from None
            raise
        pool.refresh(0)
        there = set(pool.listVolumes())
        if taken := [disk.path for disk in wanted if basename(disk.path) in there]:
            raise CopyError(host, f"{', '.join(taken)} is there already")
        needed_mib, free_mib = sum(disk.size_mib or 0.0 for disk in wanted), pool.info()[3] / _MIB
        if needed_mib > free_mib:
            raise CopyError(host, f"{directory} has {free_mib:,.0f} MiB free, the disks take {needed_mib:,.0f} MiB")


def size_mib(connection: Connection, path: str) -> float | None:
    """What a file takes on its host; None when it is in no storage pool there."""
    try:
        return connection.storageVolLookupByPath(path).info()[2] / _MIB
    except LibvirtError as error:
        if connection_broken(code_of(error), domain_of(error)):
            raise
        return None
