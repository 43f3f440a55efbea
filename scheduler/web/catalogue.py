"""Every metric that the daemon exposes: name, type, labels and meaning. Names and labels are a contract.

All values are in base units. Labels take few values: hosts are those of the configuration, the others are enumerations
of this program (`docs/metrics.md` counts them); no VM is ever a label.
"""

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "virt_scheduler_"


class Kind(StrEnum):
    """Prometheus's types that are used."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: all series of a name."""

    short_name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, without infinity."""

    @property
    def name(self) -> str:
        """The name that is exposed, with prefix."""
        return PREFIX + self.short_name


MIGRATION_DURATION = Family(
    "migration_duration_seconds",
    Kind.HISTOGRAM,
    "Time from the start of a migration to its verified end.",
    ("trigger", "outcome"),
    (0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600),
)
MIGRATION_DOWNTIME = Family(
    "migration_downtime_seconds",
    Kind.HISTOGRAM,
    "Time a guest stood still while it was handed over, where the hypervisor tells it.",
    (),
    (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10),
)
MIGRATION_PREDICTION_ERROR = Family(
    "migration_prediction_error_ratio",
    Kind.HISTOGRAM,
    "Difference of predicted and actual duration of a completed migration, as part of the actual one.",
    (),
    (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 5, 10),
)
MIGRATION_OVERRUN = Family(
    "migration_duration_to_prediction_ratio",
    Kind.HISTOGRAM,
    "Actual duration of a completed migration as part of the predicted one; above 1 it took longer.",
    (),
    (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 4, 10),
)
LOAD_PREDICTION_ERROR = Family(
    "host_load_prediction_error_ratio",
    Kind.HISTOGRAM,
    "Difference of a host's expected and measured CPU use two minutes after a migration, as part of its CPUs.",
    (),
    (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1),
)
DOWNTIME_OVERRUN = Family(
    "migration_downtime_to_prediction_ratio",
    Kind.HISTOGRAM,
    "Time a guest stood still as part of the predicted one, where one was predicted; above 1 it took longer.",
    (),
    (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 4, 10),
)
MIGRATIONS = Family(
    "migrations_total",
    Kind.COUNTER,
    "Migrations that ended; outcome `refused` is one that was not begun.",
    ("source", "destination", "trigger", "outcome"),
)
MIGRATION_TRANSFERRED = Family(
    "migration_transferred_bytes_total", Kind.COUNTER, "Bytes that migrations have carried over."
)
MIGRATIONS_IN_FLIGHT = Family(
    "migrations_in_flight",
    Kind.GAUGE,
    "Migrations under way, by host and direction (`inbound` or `outbound`).",
    ("host", "direction"),
)
MIGRATIONS_LONGEST = Family(
    "migrations_in_flight_longest_seconds",
    Kind.GAUGE,
    "How long the migration that began first of those under way has been going on; 0 when there is none.",
)
_PAIR = ("source", "destination")
PROGRESS_TRANSFERRED = Family(
    "migrations_in_flight_transferred_bytes", Kind.GAUGE, "Bytes that migrations under way have carried over.", _PAIR
)
PROGRESS_REMAINING = Family(
    "migrations_in_flight_remaining_bytes", Kind.GAUGE, "Memory that migrations under way have still to carry.", _PAIR
)
PROGRESS_DIRTY = Family(
    "migrations_in_flight_dirty_bytes_per_second",
    Kind.GAUGE,
    "Rate at which guests that are being migrated write memory again.",
    _PAIR,
)
PROGRESS_ITERATION = Family(
    "migrations_in_flight_iterations",
    Kind.GAUGE,
    "How often the hypervisor has gone through written memory; of several migrations the most.",
    _PAIR,
)
PROGRESS_END = Family(
    "migrations_in_flight_expected_end_timestamp_seconds",
    Kind.GAUGE,
    "When migrations under way are expected to end, Unix time; no series while a guest writes too fast for that.",
    _PAIR,
)
PLACEMENTS = Family("placements_total", Kind.COUNTER, "Placements of VMs that were to start.", ("outcome",))
REJECTIONS = Family(
    "rejections_total", Kind.COUNTER, "Hosts that a filter ruled out for a VM, by the reason's code.", ("filter",)
)
RESERVATIONS = Family("reservations", Kind.GAUGE, "VMs for which room is kept on a host until they show up there.")
RECOMMENDATIONS_PENDING = Family("recommendations_pending", Kind.GAUGE, "Moves that wait for a person's approval.")
DECISIONS = Family(
    "decisions_total",
    Kind.COUNTER,
    "What cycles decided: `quiet`, `plan`, `recommend`, `observe`, `blocked` or `error`.",
    ("kind",),
)
VMS_UNMOVED = Family(
    "vms_unmoved",
    Kind.GAUGE,
    "VMs that should leave the host and do not, as the last cycle found; one with several reasons counts for each.",
    ("host", "reason"),
)
VMS_MISPLACED = Family(
    "vms_misplaced", Kind.GAUGE, "Running VMs that break a must-rule where they are, by the rule's code.", ("rule",)
)
CYCLE_DURATION = Family(
    "cycle_duration_seconds",
    Kind.HISTOGRAM,
    "Time of one cycle from observation to record.",
    (),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
CYCLES = Family("cycles_total", Kind.COUNTER, "Cycles that ended, by outcome (`ok` or `error`).", ("outcome",))
CYCLE_LAST_SUCCESS = Family(
    "cycle_last_success_timestamp_seconds", Kind.GAUGE, "When the last cycle without an error ended, Unix time."
)
HOST_UP = Family("host_up", Kind.GAUGE, "Whether the host's libvirt answers.", ("host",))
HOST_INFO = Family(
    "host_info", Kind.GAUGE, "Always 1; the host's CPU model, empty where unknown.", ("host", "cpu_model")
)
HOST_MAINTENANCE = Family("host_maintenance", Kind.GAUGE, "Whether the host is cordoned or draining.", ("host",))
HOST_STALE = Family(
    "host_stale", Kind.GAUGE, "Whether the host's figures are too old, so that it takes part in nothing.", ("host",)
)
HOST_CPUS = Family("host_cpus", Kind.GAUGE, "Logical CPUs of the host.", ("host",))
HOST_CPU_USAGE = Family(
    "host_cpu_usage_ratio", Kind.GAUGE, "Part of the host's CPUs in use by everything on it, recent mean.", ("host",)
)
HOST_MEMORY_CAPACITY = Family("host_memory_capacity_bytes", Kind.GAUGE, "All memory of the host.", ("host",))
HOST_MEMORY_RESERVED = Family("host_memory_reserved_bytes", Kind.GAUGE, "Memory kept for the host itself.", ("host",))
HOST_MEMORY_COMMITTED = Family(
    "host_memory_committed_bytes",
    Kind.GAUGE,
    "Memory that the host's VMs may use at most, with what is on its way to it.",
    ("host",),
)
HOST_MEMORY_FREE = Family(
    "host_memory_free_bytes", Kind.GAUGE, "Memory that a VM can still get: neither reserved nor committed.", ("host",)
)
HOST_VMS_RUNNING = Family("host_vms_running", Kind.GAUGE, "VMs that run on the host.", ("host",))
HOST_CONTENDED = Family(
    "host_contended_seconds",
    Kind.GAUGE,
    "How long the host's VMs have been short of CPU or memory without a break.",
    ("host",),
)
HOST_LOSS_HOMELESS = Family(
    "host_loss_homeless_vms",
    Kind.GAUGE,
    "VMs of the host that would find no place on the others if it were lost, by memory and all must-rules.",
    ("host",),
)
VMS = Family("vms", Kind.GAUGE, "VMs by state.", ("state",))
VM_CPU_WAIT = Family(
    "vm_cpu_wait_ratio",
    Kind.HISTOGRAM,
    "Part of the time that vCPUs are ready but wait for a CPU, one value for each running VM as it is now.",
    (),
    (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0),
)
VMS_QUARANTINED = Family(
    "vms_quarantined", Kind.GAUGE, "VMs that nothing moves until a person has looked: two of the same UUID are active."
)
SNAPSHOT_TIMESTAMP = Family(
    "snapshot_timestamp_seconds", Kind.GAUGE, "When the snapshot behind these figures was taken, Unix time."
)
LIBVIRT_EVENTS = Family(
    "libvirt_events_total", Kind.COUNTER, "Events received from a host's libvirt.", ("host", "event")
)
LIBVIRT_RECONNECTS = Family(
    "libvirt_reconnects_total", Kind.COUNTER, "Connections to a host's libvirt made again after a loss.", ("host",)
)
CONFIG_RELOAD_SUCCESSFUL = Family(
    "config_last_reload_successful",
    Kind.GAUGE,
    "Whether the configuration on disk was accepted when last read; if not, the one before stays in force.",
)
CONFIG_RELOAD_TIMESTAMP = Family(
    "config_last_reload_success_timestamp_seconds",
    Kind.GAUGE,
    "When the configuration in force was read, Unix time.",
)
LEADER = Family(
    "leader", Kind.GAUGE, "Whether this daemon decides for the cluster; a daemon alone does as soon as it is ready."
)
MODE_INFO = Family("mode_info", Kind.GAUGE, "1 for the mode in force, 0 for the others.", ("mode",))
BUILD_INFO = Family("build_info", Kind.GAUGE, "Always 1; what runs.", ("version", "python_version"))

CATALOGUE: tuple[Family, ...] = (
    MIGRATION_DURATION,
    MIGRATION_DOWNTIME,
    MIGRATION_PREDICTION_ERROR,
    MIGRATION_OVERRUN,
    DOWNTIME_OVERRUN,
    LOAD_PREDICTION_ERROR,
    MIGRATIONS,
    MIGRATION_TRANSFERRED,
    MIGRATIONS_IN_FLIGHT,
    MIGRATIONS_LONGEST,
    PROGRESS_TRANSFERRED,
    PROGRESS_REMAINING,
    PROGRESS_DIRTY,
    PROGRESS_ITERATION,
    PROGRESS_END,
    PLACEMENTS,
    REJECTIONS,
    RESERVATIONS,
    RECOMMENDATIONS_PENDING,
    DECISIONS,
    VMS_UNMOVED,
    VMS_MISPLACED,
    CYCLE_DURATION,
    CYCLES,
    CYCLE_LAST_SUCCESS,
    HOST_UP,
    HOST_INFO,
    HOST_MAINTENANCE,
    HOST_STALE,
    HOST_CPUS,
    HOST_CPU_USAGE,
    HOST_MEMORY_CAPACITY,
    HOST_MEMORY_RESERVED,
    HOST_MEMORY_COMMITTED,
    HOST_MEMORY_FREE,
    HOST_VMS_RUNNING,
    HOST_CONTENDED,
    HOST_LOSS_HOMELESS,
    VMS,
    VMS_QUARANTINED,
    VM_CPU_WAIT,
    SNAPSHOT_TIMESTAMP,
    LIBVIRT_EVENTS,
    LIBVIRT_RECONNECTS,
    CONFIG_RELOAD_SUCCESSFUL,
    CONFIG_RELOAD_TIMESTAMP,
    LEADER,
    MODE_INFO,
    BUILD_INFO,
)
