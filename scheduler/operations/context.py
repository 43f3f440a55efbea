"""What starts, migrations and drains work with in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..cluster.model import Snapshot, Vm
from ..cluster.observation import DomainFacts
from ..cluster.ports import HypervisorCluster
from ..cluster.reason import Reason
from .clock import Clock
from .gate import Gate
from .journal import Journal
from .records import MigrationRecord, PlacementRecord
from .worker import Worker


class ClusterView(Protocol):
    """The picture of the cluster that everything decides on, with the gate's overlay."""

    def snapshot(self) -> Snapshot:
        """The cluster as last seen."""

    async def refresh(self, *hosts: str) -> Snapshot:
        """Look at these hosts now. One that does not answer is unreachable in the snapshot; nothing is raised."""

    async def inspect(self, host: str) -> Snapshot:
        """Look at this host now; a snapshot of it alone, with the VMs that are there or start there."""

    def up(self) -> Sequence[str]:
        """The names of the hosts that may take VMs."""

    def cpu_answers(self, facts: DomainFacts) -> Mapping[str, frozenset[str] | None]:
        """What hosts have answered `ask_cpu` about that guest CPU before, as long as they still would."""

    async def ask_cpu(self, host: str, facts: DomainFacts) -> frozenset[str] | None:
        """The features that a host lacks for that guest CPU; None: it cannot tell. HypervisorError: no answer."""


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
    worker: Worker
    listener: Listener
