"""Durations, sizes and bandwidths, read and written."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.config.quantities import format_duration, format_size_mib, parse_duration, parse_size_mib


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("10s", 10),
        ("2min", 120),
        ("1.5h", 5400),
        ("1h30min", 5400),
        ("1 d", 86400),
        (90, 90),
        (0.5, 0.5),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize("written", ["", "10", "s", "10 parsecs", "-1s", "1m", True, None, [], "1h,30min"])
def test_what_is_no_duration_is_refused_with_what_is(written: object) -> None:
    with pytest.raises(ValueError, match="is no duration: write 10s, 2min or 6h"):
        parse_duration(written)


@pytest.mark.parametrize(("written", "mib"), [("512MiB", 512), ("2GiB", 2048), ("0.5 TiB", 524288), ("1GB", 953)])
def test_sizes(written: str, mib: int) -> None:
    assert parse_size_mib(written) == mib


@pytest.mark.parametrize("written", ["", "2", "2G", "2gib", "-2GiB", 2, True])
def test_what_is_no_size_is_refused_with_what_is(written: object) -> None:
    with pytest.raises(ValueError, match="is no size: write 512MiB or 2GiB"):
        parse_size_mib(written)


@given(st.integers(0, 10**9))
def test_written_durations_read_back(ms: int) -> None:
    assert math.isclose(parse_duration(format_duration(ms / 1000)), ms / 1000, rel_tol=1e-9)


@given(st.integers(0, 10**9))
def test_written_sizes_read_back(mib: int) -> None:
    assert parse_size_mib(format_size_mib(mib)) == mib


@pytest.mark.parametrize(("seconds", "written"), [(120, "2min"), (0.3, "300ms"), (90, "90s"), (0, "0s"), (86400, "1d")])
def test_durations_are_written_short(seconds: float, written: str) -> None:
    assert format_duration(seconds) == written
