"""What the hosts themselves are asked just before a migration, and what each of their answers means."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from scheduler.cluster.model import LocalDisk, Vm
from scheduler.cluster.ports import (
    BusyError,
    CopyError,
    HypervisorError,
    MemoryPortError,
    PeerError,
    RefusedError,
    UnreachableError,
    UnsafeError,
)
from scheduler.operations.preflight import preflight

VM = Vm(name="vm", uuid="u", vcpus=1, memory_mib=1, host="a")


@dataclass
class Answering:
    """The part of a cluster that tries the way between two hosts."""

    failure: HypervisorError | None

    async def probe_migration(self, uuid: str, source: str, destination: str, copied: Sequence[LocalDisk] = ()) -> None:
        if self.failure is not None and not isinstance(self.failure, MemoryPortError):
            raise self.failure

    async def probe_memory_port(self, source: str, destination: str) -> bool:
        if self.failure is not None:
            raise self.failure
        return True


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (None, []),
        (PeerError("a", "refused"), [("peer_unreachable", "a cannot reach the libvirt of b: refused")]),
        (MemoryPortError("a", "no"), [("memory_port_blocked", "a cannot send memory to b: no")]),
        (CopyError("b", "full"), [("disk_copy", "its disks cannot be copied to b: full")]),
        (UnsafeError("a", "cache"), [("unsafe_disk", "the libvirt of a refuses: cache")]),
        (RefusedError("a", "no"), [("source_refuses", "the libvirt of a refuses: no")]),
        (BusyError("a", "another job"), [("not_checked", "could not be checked: a: another job")]),
        (UnreachableError("a", "gone"), [("not_checked", "could not be checked: a: gone")]),
    ],
    ids=["nothing", "peer", "port", "copy", "unsafe", "source", "busy", "unreachable"],
)
async def test_each_answer_has_its_reason(failure: HypervisorError | None, told: list[tuple[str, str]]):
    reasons = await preflight(Answering(failure), VM, "b", memory_port=True)  # type: ignore[arg-type]
    assert [(reason.code, reason.text) for reason in reasons] == told
