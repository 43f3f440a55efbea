"""The chart of a replay: what each policy made of the cluster, minute by minute, one below the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .load import LoadError
from .meter import Moment

KINDS: Final = (".svg", ".png")
PANELS: Final = (
    ("contended_vms", "VMs that wait"),
    ("unserved_cores", "cores not served"),
    ("overloaded_hosts", "hosts above 90 %"),
    ("empty_hosts", "hosts without a VM"),
    ("migrations", "migrations so far"),
)
"""Fields of Moment."""


def check(path: Path) -> None:
    """LoadError when no chart could be drawn there: asked before the replay, which takes long."""
    if path.suffix.lower() not in KINDS:
        raise LoadError(f"{path}: is no kind of chart, allowed are {' and '.join(KINDS)}")
    _pyplot()


def draw(path: Path, moments: Mapping[str, Sequence[Moment]]) -> None:
    """Write it; `moments` by policy. LoadError when the file cannot be written."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(len(PANELS), 1, sharex=True, figsize=(10, 2 * len(PANELS)), layout="constrained")
    for axis, (field, title) in zip(axes, PANELS, strict=True):
        for name, series in moments.items():
            hours = [moment.time_s / 3600 for moment in series]
            values = [getattr(moment, field) for moment in series]
            axis.step(hours, values, where="post", label=name, linewidth=1.2)
        axis.set_ylabel(title)
        axis.set_ylim(bottom=0, top=None if axis.get_ylim()[1] >= 1 else 1)
        axis.grid(visible=True, alpha=0.3)
    axes[0].legend(loc="upper right", ncols=min(4, len(moments)), fontsize="small")
    axes[-1].set_xlabel("hours")
    try:
        # No date and a fixed salt: the same replay, the same file.
        with pyplot.rc_context({"svg.hashsalt": "virt-scheduler"}):
            figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from None
    finally:
        pyplot.close(figure)


def _pyplot() -> Any:
    try:
        import matplotlib as mpl
    except ImportError:
        raise LoadError("--chart: needs matplotlib: pip install 'virt-scheduler[chart]'") from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt
