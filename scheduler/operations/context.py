"""What starts, migrations and drains work with in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..cluster.model import Snapshot, Vm
from ..cluster.ports import HypervisorCluster
from ..cluster.reason import Reason
from .clock import Clock
from .gate import Gate
from .journal import Journal
from .records import MigrationRecord, PlacementRecord


class ClusterView(Protocol):
    """The picture of the cluster that everything decides on, with the gate's overlay."""

    def snapshot(self) -> Snapshot:
        """The cluster as last seen."""

    async def refresh(self, *hosts: str) -> Snapshot:
        """Look at these hosts now. One that does not answer is unreachable in the snapshot; nothing is raised."""

    async def inspect(self, host: str) -> Snapshot:
        """Look at this host now; a snapshot of it alone, with the VMs that are there or start there."""


Check = Callable[[Snapshot, Vm, str], tuple[Reason, ...]]
"""Why a VM may not move to a host; empty when it may."""

Listener = Callable[[MigrationRecord | PlacementRecord], None]
"""Told of every record that has changed; must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The means of acting: the hosts, what is known of them, what may be done, and where it is written down."""

    cluster: HypervisorCluster
    view: ClusterView
    gate: Gate
    journal: Journal
    check: Check
    clock: Clock
    listener: Listener
