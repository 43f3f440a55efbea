import pytest

from tests.unit.clusters import cluster, host, verdict, vm


@pytest.mark.parametrize(
    ("given", "promised", "expected"),
    [
        (2_600_000_000, 2_600_000_000, {}),
        (2_600_500_000, 2_600_000_000, {}),
        (
            2_700_000_000,
            2_600_000_000,
            {"tsc_frequency": "its TSC has 2,700.000 MHz, the guest was promised 2,600.000 MHz"},
        ),
        (None, 2_600_000_000, {}),
        (2_700_000_000, None, {}),
    ],
    ids=["same", "within 250 ppm", "another", "scaled or unknown", "promised nothing"],
)
def test_a_promised_frequency_is_kept(given: int | None, promised: int | None, expected: object) -> None:
    snapshot = cluster([host("a"), host("b", tsc_hz=given)], [vm("web", "a", tsc_hz=promised)])
    assert verdict(snapshot, "web", "b") == expected
