"""The command `simulate`: a recorded or made-up load on a snapshot's cluster, steered by our daemon and by others."""

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .offline import BadInputError, print_json, read_snapshot

if TYPE_CHECKING:
    from ..cluster.model import Snapshot
    from ..config.models import Config
    from ..simulation.load import LoadTable
    from ..simulation.meter import Figures
    from ..simulation.replay import Replayed
    from ..simulation.scenario import Scenario
    from ..simulation.script import Happening
    from ..simulation.steering import Steering

OWN = "virt-scheduler"
OTHERS = ("none", "threshold", "nutanix-like", "proxmox-like", "proxlb-like", "watcher-like", "hbal")
"""Named as in `simulation.policies`, which takes long to import; a test holds them together."""
SHOWN = {
    "contention_vm_minutes": "contention, VM-minutes",
    "unserved_core_minutes": "unserved, core-minutes",
    "overloaded_host_minutes": "overloaded, host-minutes",
    "memory_short_gib_minutes": "memory short, GiB-minutes",
    "migrations": "migrations",
    "migrations_failed": "of which failed",
    "migrations_per_vm_day": "migrations a VM and day",
    "gib_moved": "GiB moved",
    "reverse_moves": "moves back within 6 h",
    "hosts_empty": "hosts empty, mean",
    "placements_refused": "placements refused",
    "hot_spots": "hot spots",
    "relief_seconds_mean": "their relief, s, mean",
    "relief_seconds_max": "their relief, s, longest",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """What is replayed: the cluster at the beginning, the settings, and what happens."""

    snapshot: "Snapshot"
    config: "Config"
    load: "LoadTable"
    happenings: "tuple[Happening, ...]" = ()
    scenario: "Scenario | None" = None


@click.command()
@click.option("--cluster", "snapshot_path", type=Path, metavar="SNAPSHOT", help="The cluster at the beginning.")
@click.option("--load", "load_path", type=Path, metavar="FILE", help="What VMs want over time, CSV.")
@click.option("--scenario", "folder", type=Path, metavar="DIR", help="Instead of both: a folder with a script.")
@click.option("--history", is_flag=True, help="Instead of both: what the daemon here has recorded.")
@click.option("--since", default="7d", show_default=True, metavar="TIME", help="How far back --history goes.")
@click.option(
    "--policy",
    "names",
    type=click.Choice([OWN, *OTHERS, "all"]),
    multiple=True,
    help="What steers it; may be repeated.  [default: virt-scheduler and, but for --scenario, none]",
)
@click.option("--config", "config_path", type=Path, metavar="F", help="The daemon's config, but hosts and mode.")
@click.option("--seed", type=int, metavar="N", help="Of all that happens by chance.  [default: the scenario's, or 0]")
@click.option(
    "--failing", type=click.FloatRange(0, 1), default=0.0, metavar="RATIO", help="Part of migrations that fail."
)
@click.option(
    "--forecast-error",
    type=click.FloatRange(0),
    default=0.0,
    metavar="RATIO",
    help="Links and guests differ by so much.",
)
@click.option(
    "--silent", type=click.FloatRange(0, 1), default=0.0, metavar="RATIO", help="Part of the time a host is not heard."
)
@click.option("--chart", "chart_path", type=Path, metavar="FILE", help="Draw what came of it: .svg or .png.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for other tools.")
def simulate(  # noqa: PLR0913 - an argument an option
    *,
    snapshot_path: Path | None,
    load_path: Path | None,
    folder: Path | None,
    history: bool,
    since: str,
    names: tuple[str, ...],
    config_path: Path | None,
    seed: int | None,
    failing: float,
    forecast_error: float,
    silent: float,
    chart_path: Path | None,
    as_json: bool,
) -> None:
    """Replay load on a cluster, and compare what the daemon would have done with what others would."""
    from .. import logs
    from ..simulation.script import silences

    logs.configure(level="error")
    if chart_path is not None:
        _drawable(chart_path)
    piece = _piece(snapshot_path, load_path, config_path, folder, since if history else None)
    if piece.scenario is not None:
        seed, failing = seed if seed is not None else piece.scenario.seed, failing or piece.scenario.failing
    chance = Chance(seed or 0, failing, forecast_error)
    up = [host.name for host in piece.snapshot.hosts if host.state == "up"]
    unheard = tuple(silences(up, piece.load.end_s, silent, chance.seed))
    piece = dataclasses.replace(piece, happenings=(*piece.happenings, *unheard))
    asked = (OWN,) if folder and not names else names or (OWN, "none")
    found = {name: _run(piece, name, chance) for name in _chosen((OWN, "none", *asked) if history else asked)}
    if chart_path is not None:
        _draw(chart_path, found)
    _tell(piece, found, history=history, as_json=as_json)


@dataclasses.dataclass(frozen=True, slots=True)
class Chance:
    """What goes wrong by chance."""

    seed: int
    failing_ratio: float
    forecast_error_ratio: float


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """What one policy made of it. `log` is empty where no script was played."""

    replayed: "Replayed"
    log: str


def _run(piece: Piece, name: str, chance: Chance) -> Run:
    from ..simulation.loop import run
    from ..simulation.replay import replay
    from ..simulation.scene import Scene

    scene = Scene(piece.snapshot, piece.config.to_planner_settings(), **dataclasses.asdict(chance))
    replayed = run(replay(scene, piece.load, _steering(name, piece.config), piece.happenings))
    if piece.scenario is None:
        return Run(replayed, "")
    from ..simulation.scenario import log_of

    return Run(replayed, log_of(scene, piece.scenario, replayed.figures))


def _tell(piece: Piece, found: dict[str, Run], *, history: bool, as_json: bool) -> None:
    """Print it; exit code 1 when a scenario came out otherwise than its folder says."""
    figures = {name: dataclasses.asdict(one.replayed.figures) for name, one in found.items()}
    log = found[OWN].log if OWN in found else ""
    wrong = bool(log and piece.scenario and piece.scenario.expected and log != piece.scenario.expected)
    answer: dict[str, object] = {"policies": figures}
    if history:
        answer["sentence"] = _sentence(piece, found[OWN].replayed.figures, found["none"].replayed.figures)
    if log:
        answer |= {"log": log.splitlines(), "as_expected": not wrong}
    if as_json:
        print_json(answer)
    elif log and len(found) == 1:
        click.echo(log, nl=False)
    else:
        if history:
            click.echo(f"{answer['sentence']}\n")
        _show(figures)
    if wrong and piece.scenario is not None:
        _show_difference(piece.scenario.expected, log)
        sys.exit(1)


def _show_difference(expected: str, log: str) -> None:
    from difflib import unified_diff

    click.echo("virt-scheduler: it came out otherwise than expected:", err=True)
    for line in unified_diff(expected.splitlines(), log.splitlines(), "expected.log", "now", n=1, lineterm=""):
        click.echo(line, err=True)


def _drawable(path: Path) -> None:
    from ..simulation import chart
    from ..simulation.load import LoadError

    try:
        chart.check(path)
    except LoadError as error:
        raise BadInputError(str(error)) from None


def _draw(path: Path, found: dict[str, Run]) -> None:
    from ..simulation import chart
    from ..simulation.load import LoadError

    try:
        chart.draw(path, {name: one.replayed.moments for name, one in found.items()})
    except LoadError as error:
        raise BadInputError(str(error)) from None


def _piece(
    snapshot_path: Path | None, load_path: Path | None, config_path: Path | None, folder: Path | None, since: str | None
) -> Piece:
    """What was asked for, read; BadInputError where that cannot be."""
    from ..cluster.codec import SnapshotError
    from ..config.loading import ConfigError, load
    from ..simulation.load import LoadError, read_load
    from ..simulation.own import config_for

    try:
        if since is not None:
            if snapshot_path or load_path or folder:
                raise BadInputError("--history: is instead of --cluster, --load and --scenario, not beside them")
            return _recorded(load(config_path), since)
        if folder is not None:
            if snapshot_path or load_path:
                raise BadInputError("--scenario: is instead of --cluster and --load, not beside them")
            return _played(folder, config_path)
        if snapshot_path is None or load_path is None:
            raise BadInputError("--cluster and --load: are needed both, or --history, or --scenario")
        snapshot = read_snapshot(snapshot_path)
        table = read_load(load_path, _uuids(snapshot))
        config = config_for(snapshot, None if config_path is None else load(config_path))
    except (LoadError, SnapshotError) as error:
        raise BadInputError(str(error)) from None
    except ConfigError as error:
        raise BadInputError(error.problems[0]) from None
    if config_path is not None:
        snapshot = dataclasses.replace(snapshot, rules=config.to_rules())
    return Piece(snapshot, config, table)


def _played(folder: Path, config_path: Path | None) -> Piece:
    from ..config.loading import load
    from ..simulation.own import config_for
    from ..simulation.scenario import read_scenario

    scenario, own = read_scenario(folder), folder / "config.toml"
    path = config_path or (own if own.exists() else None)
    written = None if path is None else load(path)
    snapshot = scenario.snapshot
    if written is not None:
        snapshot = dataclasses.replace(snapshot, rules=written.to_rules())
    return Piece(snapshot, config_for(snapshot, written), scenario.load, scenario.happenings, scenario)


def _recorded(written: "Config", since: str) -> Piece:
    import time

    from ..config.quantities import parse_duration
    from ..operations.load_record import NAME
    from ..simulation.history import read_history
    from ..simulation.own import config_for

    try:
        back_s = parse_duration(since)
    except ValueError as error:
        raise BadInputError(f"--since: {error}") from None
    recorded = read_history(written.state_directory / NAME, time.time() - back_s)
    snapshot = dataclasses.replace(recorded.snapshot, rules=written.to_rules())
    return Piece(snapshot, config_for(snapshot, written), recorded.load, recorded.happenings)


def _sentence(piece: Piece, own: "Figures", nobody: "Figures") -> str:
    from ..simulation.history import sentence

    return sentence(piece.load.end_s / 86400, own, nobody)


def _chosen(names: tuple[str, ...]) -> list[str]:
    """The policies, each once; `all` leaves out hbal where it is not installed."""
    installed = shutil.which("hbal") is not None
    if "hbal" in names and not installed:
        raise BadInputError("--policy: hbal is not installed, apt-get install --no-install-recommends ganeti-htools")
    every = [OWN, *(name for name in OTHERS if name != "hbal" or installed)]
    return list(dict.fromkeys(one for name in names for one in (every if name == "all" else [name])))


def _steering(name: str, config: "Config") -> "Steering":
    if name == OWN:
        from ..simulation.own import OwnDaemon

        return OwnDaemon(config)
    from ..simulation.follower import Follower
    from ..simulation.policies import POLICIES

    return Follower(POLICIES[name]())


def _uuids(snapshot: "Snapshot") -> dict[str, str]:
    """The UUID of each running VM by its UUID and, where it is the only one of that name, its name."""
    running = [vm for vm in snapshot.vms if vm.active and vm.host is not None]
    names = [vm.name for vm in running]
    unique = {vm.name: vm.uuid for vm in running if names.count(vm.name) == 1}
    return unique | {vm.uuid: vm.uuid for vm in running}


def _show(figures: dict[str, dict[str, float | None]]) -> None:
    from .present import table

    hours = next(iter(figures.values()))["simulated_hours"]
    click.echo(f"{hours:.1f} h replayed; others are approximations of what their documentation says")
    rows = [[text, *(_cell(one[key]) for one in figures.values())] for key, text in SHOWN.items()]
    table(["", *(f">{name}" for name in figures)], rows)


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}" if value < 10 else f"{value:,.0f}"
