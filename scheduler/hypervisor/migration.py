"""Live migrations: how one is asked for, and how far it is.

They go peer to peer, from libvirtd to libvirtd, and so go on without this process.
"""

from dataclasses import replace

from ..cluster.ports import HostAddress, Job, MigrationOptions
from .binding import Connection, Domain, LibvirtError, Parameters, Stats, libvirt
from .errors import code_of
from .statistics import counter

_MIB = 1024 * 1024
_POST_COPY = {libvirt.VIR_DOMAIN_PAUSED_POSTCOPY, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED}


def flags(options: MigrationOptions) -> int:
    """The flags of migrateToURI3. Both definition flags or neither: one alone leaves two definitions, or none."""
    chosen: int = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    if options.persistent:
        chosen |= libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    if options.auto_converge:
        chosen |= libvirt.VIR_MIGRATE_AUTO_CONVERGE
    if options.post_copy:
        chosen |= libvirt.VIR_MIGRATE_POSTCOPY
    if options.parallel_connections > 1:
        chosen |= libvirt.VIR_MIGRATE_PARALLEL
    if options.tls:
        chosen |= libvirt.VIR_MIGRATE_TLS
    if options.copied_disks:
        chosen |= libvirt.VIR_MIGRATE_NON_SHARED_DISK
    return chosen


def parameters(destination: HostAddress, options: MigrationOptions) -> Parameters:
    """The typed parameters of migrateToURI3."""
    chosen: Parameters = {}
    if destination.migration_address is not None:
        address = destination.migration_address
        chosen[libvirt.VIR_MIGRATE_PARAM_URI] = f"tcp://[{address}]" if ":" in address else f"tcp://{address}"
    if options.bandwidth_mib_per_s is not None:
        chosen[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = options.bandwidth_mib_per_s
    if options.parallel_connections > 1:
        chosen[libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS] = options.parallel_connections
    if options.copied_disks:  # without it libvirt would copy disks on shared storage onto themselves
        chosen[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(options.copied_disks)
    return chosen


def migrate(connection: Connection, uuid: str, destination: HostAddress, options: MigrationOptions) -> None:
    """Carry the domain over; blocks until it is done. Raises LibvirtError."""
    domain = connection.lookupByUUIDString(uuid)
    domain.migrateToURI3(destination.peer_uri, parameters(destination, options), flags(options))


def set_max_downtime(connection: Connection, uuid: str, downtime_ms: int) -> None:
    """How long the guest may stand still at the end of its running migration. Raises LibvirtError."""
    connection.lookupByUUIDString(uuid).migrateSetMaxDowntime(downtime_ms)


def start_post_copy(connection: Connection, uuid: str) -> None:
    """Switch its running migration over. Raises LibvirtError."""
    connection.lookupByUUIDString(uuid).migrateStartPostCopy()


def abort(connection: Connection, uuid: str) -> None:
    """Abort the domain's running job. Raises LibvirtError."""
    connection.lookupByUUIDString(uuid).abortJob()


def running_job(connection: Connection, uuid: str) -> Job | None:
    """The domain's running migration; None when it has none. Raises LibvirtError."""
    domain = connection.lookupByUUIDString(uuid)
    try:
        stats = domain.jobStats()
    except LibvirtError as error:
        if told_by_receiver(error):
            return Job(elapsed_ms=0, outgoing=False)
        if code_of(error) == libvirt.VIR_ERR_OPERATION_INVALID:  # the domain is not active
            return None
        raise
    job = read_job(stats)
    return None if job is None else replace(job, post_copy=_in_post_copy(domain))


def _in_post_copy(domain: Domain) -> bool:
    state, reason, *_ = domain.state()
    return bool(state == libvirt.VIR_DOMAIN_PAUSED and reason in _POST_COPY)


def told_by_receiver(error: Exception) -> bool:
    """Whether a refusal of a job's statistics means that the domain is the receiving half of a migration.

    libvirt has them on the source only.
    """
    return bool(code_of(error) == libvirt.VIR_ERR_OPERATION_UNSUPPORTED)


def read_job(stats: Stats) -> Job | None:
    """A job of libvirt as the port knows it; None when it is no migration or none is running."""
    if stats.get("type", libvirt.VIR_DOMAIN_JOB_NONE) == libvirt.VIR_DOMAIN_JOB_NONE:
        return None
    operation = stats.get("operation", libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)
    if operation != libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
        return None
    dirty_pages_per_s = counter(stats, "memory_dirty_rate")
    page_bytes = counter(stats, "memory_page_size")
    bytes_per_s = counter(stats, "memory_bps")
    dirty_bytes_per_s = None if dirty_pages_per_s is None or page_bytes is None else dirty_pages_per_s * page_bytes
    return Job(
        elapsed_ms=counter(stats, "time_elapsed") or 0,
        total_bytes=_either(stats, "total"),
        processed_bytes=_either(stats, "processed"),
        remaining_bytes=_either(stats, "remaining"),
        dirty_mib_per_s=None if dirty_bytes_per_s is None else dirty_bytes_per_s / _MIB,
        bandwidth_mib_per_s=None if bytes_per_s is None else bytes_per_s / _MIB,
        iteration=counter(stats, "memory_iteration"),
        downtime_ms=counter(stats, "downtime"),
    )


def _either(stats: Stats, what: str) -> int | None:
    """Of memory and disks together where libvirt sums them up, else of memory.

    While the destination is being prepared all are 0, which says nothing yet.
    """
    if not counter(stats, "data_total") and not counter(stats, "memory_total"):
        return None
    both = counter(stats, f"data_{what}")
    return counter(stats, f"memory_{what}") if both is None else both
