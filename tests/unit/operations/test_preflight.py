"""What the hosts themselves are asked just before a migration, and what each of their answers means."""

from dataclasses import dataclass

import pytest

from scheduler.cluster.ports import BusyError, HypervisorError, PeerError, RefusedError, UnreachableError
from scheduler.operations.preflight import preflight


@dataclass
class Answering:
    """The part of a cluster that tries the way between two hosts."""

    failure: HypervisorError | None

    async def probe_migration(self, uuid: str, source: str, destination: str) -> None:
        if self.failure is not None:
            raise self.failure


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (None, []),
        (PeerError("a", "refused"), [("peer_unreachable", "a cannot reach the libvirt of b: refused")]),
        (RefusedError("a", "unsafe"), [("source_refuses", "the libvirt of a refuses: unsafe")]),
        (BusyError("a", "another job"), [("not_checked", "could not be checked: a: another job")]),
        (UnreachableError("a", "gone"), [("not_checked", "could not be checked: a: gone")]),
    ],
    ids=["nothing", "peer", "source", "busy", "unreachable"],
)
async def test_each_answer_has_its_reason(failure: HypervisorError | None, told: list[tuple[str, str]]):
    reasons = await preflight(Answering(failure), "u", "a", "b")  # type: ignore[arg-type]
    assert [(reason.code, reason.text) for reason in reasons] == told
