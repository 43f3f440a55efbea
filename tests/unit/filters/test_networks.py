import pytest

from tests.unit.clusters import cluster, host, verdict, vm


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (frozenset({"bridge:br0", "network:lan"}), {}),
        (frozenset({"bridge:br1"}), {"network_missing": "has no bridge:br0, network:lan"}),
        (None, {}),
    ],
)
def test_each_network_must_be_there(present: frozenset[str] | None, expected: object) -> None:
    needed = frozenset({"network:lan", "bridge:br0"})
    snapshot = cluster([host("a"), host("b", networks=present)], [vm("web", "a", networks=needed)])
    assert verdict(snapshot, "web", "b") == expected
