"""What the operator may choose about acting, with the defaults that hold without a config. Times in seconds."""

from dataclasses import dataclass, replace
from enum import StrEnum

from ..cluster.model import Snapshot, Vm
from ..cluster.rules import selected_by_any


class Mode(StrEnum):
    """What the daemon does by itself. What a person asks for is done in every mode."""

    OBSERVE = "observe"
    """Nothing: it watches and tells."""
    RECOMMEND = "recommend"
    """Moves are proposed and wait for approval."""
    AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the gate lets through."""

    max_inbound: int = 1
    max_outbound: int = 2
    """Migrations at the same time, per host."""
    max_moved_ratio_per_hour: float = 0.02
    """Part of all VMs that balancing may move in an hour. Drains and people are not bound by it."""
    min_moves_per_hour: int = 10
    """In a small cluster balancing may move so many in an hour, but at most a tenth of the VMs, and always one."""
    cooldown_seconds: float = 1800.0
    """A VM that was moved automatically is left alone for this long, doubled for each further move within a day."""
    max_cooldown_seconds: float = 21600.0
    reverse_ban_seconds: float = 21600.0
    """No automatic move back to where a VM came from."""
    manual_move_hold_seconds: float = 21600.0
    """A VM that a person moved stays where the person put it."""
    warm_up_seconds: float = 300.0
    """No balancing after the daemon's start."""
    failure_backoff_seconds: float = 300.0
    """After a failed migration, doubled for each further failure in a row, up to `max_cooldown_seconds`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationSettings:
    """How migrations are run."""

    bandwidth_mib_per_s: int | None = None
    max_downtime_ms: int = 300
    downtime_limit_ms: int = 300
    """Up to which `max_downtime_ms` is doubled, step by step, for a migration that stalls."""
    auto_converge: bool = False
    post_copy: bool = False
    """Switch a migration that stalls over to post-copy: it always ends, and cannot be aborted any more."""
    abort_stalled: bool = True
    """Abort one that stalls when nothing is left to help it."""
    parallel_connections: int = 1
    tls: bool = False
    copy_storage: bool = False
    """Copy disks on local storage along; else they keep their VM where it is."""
    timeout_seconds: float = 3600.0
    """A migration that takes longer is aborted; the VM stays where it was."""
    classes: tuple["MigrationClass", ...] = ()
    """VMs that are migrated otherwise; the first that means a VM counts."""

    def copying(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with disks that may be copied no longer in the way of running VMs."""
        if not (self.copy_storage or any(kind.settings.copy_storage for kind in self.classes)):
            return snapshot
        vms = (_free(vm) if vm.local_disks and vm.active and self.of(vm).copy_storage else vm for vm in snapshot.vms)
        return replace(snapshot, vms=tuple(vms))

    def of(self, vm: Vm | None) -> "MigrationSettings":
        """How this VM is migrated; as most are where it is not known."""
        for kind in self.classes:
            if vm is not None and selected_by_any(kind.vms, name=vm.name, uuid=vm.uuid, labels=vm.labels):
                return kind.settings
        return self


@dataclass(frozen=True, slots=True)
class MigrationClass:
    """VMs, by selectors, and how they are migrated."""

    vms: tuple[str, ...]
    settings: MigrationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How much of what happened is remembered; the oldest goes first."""

    keep_seconds: float = 7_776_000.0
    """Records of what has ended that are older go."""
    max_size_mib: int = 64
    """Of all records together."""
    snapshots: int = 200
    """Of cycles that acted."""
    snapshots_max_size_mib: int = 64
    """Of all of them together, compressed."""


def _free(vm: Vm) -> Vm:
    copied = {disk.blocker for disk in vm.local_disks}
    blockers = tuple(blocker for blocker in vm.blockers if blocker not in copied)
    return replace(vm, blockers=blockers, movable=not blockers)
