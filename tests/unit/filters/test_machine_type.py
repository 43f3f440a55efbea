import pytest

from tests.unit.clusters import cluster, host, verdict, vm


@pytest.mark.parametrize(
    ("offered", "needed", "expected"),
    [
        (frozenset({"q35", "pc"}), "q35", {}),
        (frozenset({"pc"}), "q35", {"machine_type": "has no machine type q35"}),
        (None, "q35", {}),
        (frozenset({"pc"}), None, {}),
    ],
)
def test_the_hosts_qemu_must_offer_it(offered: frozenset[str] | None, needed: str | None, expected: object) -> None:
    snapshot = cluster([host("a"), host("b", machine_types=offered)], [vm("web", "a", machine_type=needed)])
    assert verdict(snapshot, "web", "b") == expected
