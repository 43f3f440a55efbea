"""Draws the README's picture: `make dashboard-picture`, as root, some 13 minutes.

A daemon schedules the demonstration's three hosts while things happen to them; a real Prometheus scrapes it; then the
panels of config/grafana/dashboard.json are drawn with what their own expressions give there.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from scheduler.lab.demo import GUEST_CORES, HOSTS, RULES, SETTINGS
from scheduler.lab.demo_daemon import DemoDaemon
from scheduler.lab.guest import GuestSpec
from scheduler.lab.lab import Lab
from scheduler.lab.owner import Owner

from .prometheus_server import CONFIG, JOB, PrometheusServer, scraping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

MINUTES = 12
STEP_S = 5.0
VARIABLES = {"$job": JOB, "$host": ".*", "$window": "5m", "$__rate_interval": "30s"}
GUESTS = ("web1", "web2", "db", "cache", "legacy-erp", "batch")
ROWS = {"Load", "Migrations"}
"""Of the dashboard, which has more."""
COLUMNS = 3
BACKGROUND, PANEL, TEXT, GRID = "#111217", "#181b1f", "#ccccdc", "#2c3235"
COLOURS = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#b877d9", "#5794f2", "#fade2a")


def record(lab: Lab, daemon: DemoDaemon, prometheus: PrometheusServer) -> dict[str, list[dict[str, Any]]]:
    """What each expression of the dashboard gave over MINUTES in which hosts were busy, drained and lost."""
    began = time.time()
    for guest in GUESTS:
        path = lab.directory / f"{guest}.xml"
        path.write_text(lab.guest_xml(GuestSpec(guest, cpu_load=0.05)))
        daemon.command("place", str(path))
    happenings: dict[float, Callable[[], object]] = {
        2.0: lambda: _busy(lab, daemon),
        4.5: lambda: daemon.command("drain", "node3"),
        5.5: lambda: daemon.command("uncordon", "node3"),
        6.5: lambda: [lab.set_guest_load(guest, cpu=0.05) for guest in GUESTS],
        8.0: lab.hosts["node1"].freeze_libvirtd,
        9.0: lab.hosts["node1"].thaw_libvirtd,
        9.5: lambda: [lab.set_guest_load(guest, cpu=GUEST_CORES) for guest in ("web1", "web2")],
        MINUTES: lambda: None,
    }
    for minute, happen in happenings.items():
        time.sleep(max(0.0, began + minute * 60 - time.time()))
        happen()
    expressions = {target["expr"] for panel in panels() for target in panel["targets"]}
    return {
        expression: prometheus.query_range(_filled(expression), began, time.time(), STEP_S)
        for expression in expressions
    }


def _busy(lab: Lab, daemon: DemoDaemon) -> None:
    """Have the VMs of the host with most of them want more than it has."""
    hosts = [vm["host"] for vm in daemon.get("/v1/vms")["vms"]]
    hot = max(sorted(set(hosts)), key=hosts.count)
    for vm in daemon.get("/v1/vms")["vms"]:
        if vm["host"] == hot:
            lab.set_guest_load(vm["name"], cpu=GUEST_CORES)


def panels() -> list[dict[str, Any]]:
    """The panels over time in ROWS of the dashboard."""
    row, found = "", []
    for panel in json.loads((CONFIG / "grafana/dashboard.json").read_text())["panels"]:
        row = panel["title"] if panel["type"] == "row" else row
        if panel["type"] == "timeseries" and row in ROWS:
            found.append(panel)
    return found


def _filled(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def draw(recorded: dict[str, list[dict[str, Any]]], picture: Path) -> None:
    """Draw all panels, as a dark Grafana would, into an SVG."""
    mpl.rcParams.update({
        "svg.hashsalt": JOB, "font.size": 7.5, "text.color": TEXT, "axes.labelcolor": TEXT, "xtick.color": TEXT,
        "ytick.color": TEXT, "axes.facecolor": PANEL, "figure.facecolor": BACKGROUND, "axes.edgecolor": GRID,
        "grid.color": GRID, "legend.frameon": False, "svg.fonttype": "none", "font.family": "sans-serif",
        "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    })  # fmt: skip
    drawn = panels()
    rows = math.ceil(len(drawn) / COLUMNS)
    figure = Figure(figsize=(12, 2.2 * rows), layout="constrained")
    for axes, panel in zip(figure.subplots(rows, COLUMNS).flat, drawn, strict=False):
        _draw_panel(axes, panel, recorded)
    figure.savefig(picture, metadata={"Date": None})


def _draw_panel(axes: Axes, panel: dict[str, Any], recorded: dict[str, list[dict[str, Any]]]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    began = min(float(series["values"][0][0]) for found in recorded.values() for series in found)
    lines: list[tuple[str, dict[float, float]]] = [
        (_legend(target["legendFormat"], series["metric"]), _minutes(series["values"], began))
        for target in panel["targets"]
        for series in recorded[target["expr"]]
    ]
    if defaults["custom"]["stacking"]["mode"] == "normal":
        minutes = sorted({minute for _, values in lines for minute in values})
        heights = [[values.get(minute, 0.0) for minute in minutes] for _, values in lines]
        if lines:
            axes.stackplot(minutes, heights, labels=[name for name, _ in lines], colors=COLOURS, alpha=0.6)
    else:
        for (name, values), colour in zip(lines, COLOURS * 4, strict=False):
            axes.plot(list(values), list(values.values()), label=name, color=colour, linewidth=1)
    axes.set_title(panel["title"], fontsize=8.5, loc="left", color=TEXT, fontweight="bold")
    axes.set_xlim(0, MINUTES)
    axes.set_ylim(bottom=0, top=defaults.get("max"))
    axes.xaxis.set_major_formatter("{x:g} min")
    if defaults["unit"] == "percentunit":
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    elif defaults["unit"] == "s":
        axes.yaxis.set_major_formatter("{x:g} s")
    elif defaults.get("decimals") == 0:
        axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(visible=True, linewidth=0.5)
    axes.tick_params(length=0)
    if lines:
        axes.legend(fontsize=6.5, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=3, handlelength=1)
    else:
        axes.text(0.5, 0.5, "No data", ha="center", va="center", transform=axes.transAxes, alpha=0.5)


def _minutes(values: Sequence[Sequence[Any]], began: float) -> dict[float, float]:
    """The values by minutes; none, so that no line is drawn, at a step that has none."""
    at_steps = {round((float(at) - began) / STEP_S): float(value) for at, value in values}
    return {step * STEP_S / 60: at_steps.get(step, math.nan) for step in range(min(at_steps), max(at_steps) + 1)}


def _legend(template: str, labels: dict[str, str]) -> str:
    for label, value in labels.items():
        template = template.replace(f"{{{{{label}}}}}", value)
    return template


def main(picture: Path) -> None:
    """Record and draw."""
    with tempfile.TemporaryDirectory(prefix="virt-scheduler-picture-") as folder:
        lab = Lab.create(Path(folder) / "lab", HOSTS, owner=Owner.this_process())
        with lab:
            lab.config_file.write_text(SETTINGS + lab.config_file.read_text() + RULES)
            prometheus_folder = Path(folder) / "prometheus"
            prometheus_folder.mkdir()
            with DemoDaemon(lab) as daemon:
                listen = daemon.metrics_address
                with scraping(listen, prometheus_folder, interval="5s") as prometheus:
                    recorded = record(lab, daemon, prometheus)
    draw(recorded, picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
