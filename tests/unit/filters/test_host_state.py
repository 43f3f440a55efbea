import pytest

from scheduler.cluster.model import HostState
from tests.unit.clusters import cluster, host, verdict, vm


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (HostState.UP, {}),
        (HostState.MAINTENANCE, {"host_state": "is in maintenance"}),
        (HostState.UNREACHABLE, {"host_state": "its libvirt does not answer"}),
    ],
)
def test_only_a_host_that_is_up_takes_vms(state: HostState, expected: dict[str, str]) -> None:
    snapshot = cluster([host("a"), host("b", state=state)], [vm("web", "a")])
    assert verdict(snapshot, "web", "b") == expected
