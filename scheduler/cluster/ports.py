"""The protocol between everything that decides or acts and the hypervisors of all hosts.

`scheduler.hypervisor.cluster.LibvirtCluster` is the real one, `scheduler.simulation.cluster.SimulatedCluster` the one
for tests and replay; nothing above can tell which it has. Calls raise the errors below and no others.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from .model import LocalDisk
from .observation import DomainFacts, DomainObservation, Event, HostObservation


class HypervisorError(Exception):
    """A hypervisor did not do what it was asked. `host` is where, the text is for people."""

    def __init__(self, host: str, text: str) -> None:
        super().__init__(f"{host}: {text}")
        self.host = host
        self.text = text


class UnreachableError(HypervisorError):
    """The host's libvirt cannot be reached or did not answer in time: what happened there is unknown."""


class NoHostError(UnreachableError):
    """The cluster has no such host, or not any more: waiting for it is of no use."""


class NotFoundError(HypervisorError):
    """There is no such domain on that host (any more)."""


class BusyError(HypervisorError):
    """The domain is in the middle of another operation."""


class RefusedError(HypervisorError):
    """The hypervisor said no, and why."""


class PeerError(RefusedError):
    """One host's hypervisor cannot reach another's, or is not let in."""


class MemoryPortError(RefusedError):
    """Packets do not get from one host to where another takes in the memory of a migration."""


class UnsafeError(RefusedError):
    """The hypervisor holds a migration to be unsafe for the VM's disks."""


class CopyError(RefusedError):
    """A host cannot take in the copy of a disk."""


class DefinitionError(ValueError):
    """A domain XML that cannot be used; the text names the place and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAddress:
    """How a host is reached: by the daemon (`uri`), by other hosts' libvirtd (`peer_uri`), by migrated memory."""

    name: str
    uri: str
    peer_uri: str
    migration_address: str | None = None
    migration_port: int = 49152
    """The first of the ports on which its QEMU takes in migrations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A domain XML, read."""

    name: str
    uuid: str | None
    facts: DomainFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationOptions:
    """How to carry one VM over."""

    persistent: bool
    """It has a definition, which goes along and leaves the source."""
    bandwidth_mib_per_s: int | None = None
    """Cap for this migration; None: the hypervisor's own."""
    max_downtime_ms: int = 300
    auto_converge: bool = False
    post_copy: bool = False
    """Allow `start_post_copy` later on."""
    parallel_connections: int = 1
    tls: bool = False
    """Encrypt the memory on its way; the hosts' QEMU need certificates."""
    copied_disks: tuple[str, ...] = ()
    """Disks that are copied along, by their targets (`vda`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """How far a running migration is. A field is None when the hypervisor does not tell it."""

    elapsed_ms: int
    total_bytes: int | None = None
    processed_bytes: int | None = None
    remaining_bytes: int | None = None
    dirty_mib_per_s: float | None = None
    bandwidth_mib_per_s: float | None = None
    iteration: int | None = None
    downtime_ms: int | None = None
    """Expected while it runs, measured once it has completed."""
    outgoing: bool = True
    """This host is the source."""
    post_copy: bool = False
    """The guest runs on the destination already and its memory follows: there is no way back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuAnswer:
    """What a host's hypervisor says of a guest's CPU."""

    compatible: bool | None
    """Whether it can run it; None: it cannot tell."""
    missing: frozenset[str] = frozenset()
    """The features it lacks, by name; empty also where what stands in the way is none (another vendor)."""
    text: str = ""
    """Why not, or why it cannot tell, in the hypervisor's own words."""

    @property
    def lacks(self) -> frozenset[str] | None:
        """What stands in the way: features or else the text, so never empty for a no. None: it cannot tell."""
        if self.compatible is None:
            return None
        return frozenset() if self.compatible else self.missing or frozenset({self.text})


class HypervisorCluster(Protocol):
    """All hosts' hypervisors."""

    async def connect(self, address: HostAddress) -> None:
        """Take a host in and keep a connection to it, also across failures. Returns at once."""

    async def disconnect(self, host: str) -> None:
        """Let a host go."""

    async def close(self) -> None:
        """Let every host go; what they are doing goes on without us."""

    def events(self) -> AsyncIterator[Event]:
        """Everything that happens on all hosts, from now on. One consumer."""

    async def observe(self, host: str) -> HostObservation:
        """The host and all its domains now."""

    async def domain(self, host: str, uuid: str) -> DomainObservation | None:
        """One domain now, straight from the host; None when the host has none of that UUID."""

    async def compare_cpu(self, host: str, facts: DomainFacts) -> CpuAnswer:
        """Whether `host` can run a guest with that CPU, by its libvirt's own answer."""

    async def host_model_guest(self, host: str, like: DomainFacts | None = None) -> DomainFacts:
        """A guest with the CPU that `host` would give it: host-model, or `like`'s own mode. RefusedError: unknown."""

    async def baseline_guest(self, host: str, guests: Sequence[DomainFacts]) -> DomainFacts:
        """A guest with the largest CPU that all of these contain, by `host`'s libvirt. RefusedError: there is none."""

    def read_definition(self, xml: str) -> Definition:
        """Parse a domain XML; DefinitionError when it cannot be used."""

    async def domain_xml(self, host: str, uuid: str) -> str:
        """The definition that a next start would use, with its secrets."""

    async def define(self, host: str, xml: str) -> str:
        """Define a domain; returns its UUID."""

    async def undefine(self, host: str, uuid: str) -> None:
        """Remove the definition of a stopped domain. Its storage is not touched."""

    async def start(self, host: str, uuid: str) -> None:
        """Start a defined domain."""

    async def set_autostart(self, host: str, uuid: str, *, autostart: bool) -> None:
        """Whether the host's libvirt starts the domain at boot."""

    async def migrate(self, uuid: str, source: str, destination: str, options: MigrationOptions) -> None:
        """Migrate live, peer to peer; returns or raises when the call ends.

        The outcome is what both hosts show afterwards, not what this raised: the migration goes on without us.
        """

    async def probe_migration(self, uuid: str, source: str, destination: str, copied: Sequence[LocalDisk] = ()) -> None:
        """Have `source` really connect to `destination` as for a migration, and check what it can; nothing is moved.

        `copied` are the disks that would be copied along; CopyError when `destination` cannot take one in.

        Raises PeerError when it cannot connect, UnsafeError and RefusedError when something else stands against the
        migration.
        """

    async def probe_memory_port(self, source: str, destination: str) -> bool:
        """Have `source` send packets to where `destination` takes in memory; whether that could be tried.

        Raises MemoryPortError when they do not get there.
        """

    async def job(self, host: str, uuid: str) -> Job | None:
        """The domain's running migration; None when it has none."""

    async def set_max_downtime(self, host: str, uuid: str, downtime_ms: int) -> None:
        """How long the guest may stand still at the end of its running migration."""

    async def start_post_copy(self, host: str, uuid: str) -> None:
        """Let the guest run on its destination now and its memory follow; for a migration that allows `post_copy`."""

    async def abort_job(self, host: str, uuid: str) -> None:
        """Abort the domain's running migration; it keeps running on its source. RefusedError in post-copy."""

    async def sample_dirty_rate(self, host: str, uuid: str) -> float:
        """How many MiB/s of its memory a running guest writes, looked at for a second or so.

        RefusedError: the host cannot tell. Not to be asked of a domain that migrates: BusyError, perhaps late.
        """
