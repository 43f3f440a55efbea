"""The chart: drawn where its library is, told in one line where it is not."""

import sys
from pathlib import Path

import pytest

from scheduler.simulation import chart
from scheduler.simulation.load import LoadError
from scheduler.simulation.meter import Moment

MOMENTS = [Moment(60.0 * n, n % 3, n % 2, n, n / 2, 1) for n in range(30)]


@pytest.mark.parametrize(("name", "begins"), [("a.svg", b"<?xml"), ("a.png", b"\x89PNG")])
def test_it_is_drawn_and_the_same_each_time(tmp_path: Path, name: str, begins: bytes):
    pytest.importorskip("matplotlib")
    first, second = tmp_path / name, tmp_path / f"again-{name}"
    for path in (first, second):
        chart.draw(path, {"virt-scheduler": MOMENTS, "none": MOMENTS[::-1]})
    assert first.read_bytes().startswith(begins)
    assert first.read_bytes() == second.read_bytes()


def test_without_its_library_it_is_told_before_anything_is_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(LoadError, match=r"needs matplotlib: pip install 'virt-scheduler\[chart\]'"):
        chart.check(tmp_path / "a.svg")
    with pytest.raises(LoadError, match=r"a.pdf: is no kind of chart, allowed are .svg and .png"):
        chart.check(tmp_path / "a.pdf")
