import pytest

from tests.unit.clusters import cluster, host, verdict, vm


@pytest.mark.parametrize(
    ("offered", "needed", "expected"),
    [
        (frozenset({"kvm", "qemu"}), "kvm", {}),
        (frozenset({"qemu"}), "kvm", {"domain_type": "offers no kvm, only qemu"}),
        (frozenset(), "kvm", {"domain_type": "offers no kvm"}),
        (None, "kvm", {}),
        (frozenset({"qemu"}), None, {}),
    ],
)
def test_the_host_must_offer_it(offered: frozenset[str] | None, needed: str | None, expected: object) -> None:
    snapshot = cluster([host("a"), host("b", domain_types=offered)], [vm("web", "a", domain_type=needed)])
    assert verdict(snapshot, "web", "b") == expected
