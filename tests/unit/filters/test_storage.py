import pytest

from tests.unit.clusters import cluster, host, verdict, vm


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (frozenset({"nfs", "ceph"}), {}),
        (frozenset({"nfs"}), {"storage_missing": "has no storage pool ceph"}),
        (None, {}),
    ],
)
def test_each_pool_must_be_active_there(present: frozenset[str] | None, expected: object) -> None:
    snapshot = cluster([host("a"), host("b", storage=present)], [vm("web", "a", storage=frozenset({"ceph"}))])
    assert verdict(snapshot, "web", "b") == expected
