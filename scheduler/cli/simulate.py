"""The command `simulate`: a recorded or made-up load on a snapshot's cluster, steered by our daemon and by others."""

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .offline import BadInputError, print_json, read_snapshot

if TYPE_CHECKING:
    from ..cluster.model import Snapshot
    from ..cluster.settings import PlannerSettings
    from ..config.models import Config
    from ..simulation.load import LoadTable
    from ..simulation.meter import Figures
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


@click.command()
@click.option("--cluster", "snapshot_path", type=Path, metavar="SNAPSHOT", help="The cluster at the beginning.")
@click.option("--load", "load_path", type=Path, metavar="FILE", help="What VMs want over time, CSV.")
@click.option("--history", is_flag=True, help="Instead of both: what the daemon here has recorded.")
@click.option("--since", default="7d", show_default=True, metavar="TIME", help="How far back --history goes.")
@click.option(
    "--policy",
    "names",
    type=click.Choice([OWN, *OTHERS, "all"]),
    multiple=True,
    default=(OWN, "none"),
    help="What steers it; may be repeated.  [default: virt-scheduler and none]",
)
@click.option("--config", "config_path", type=Path, metavar="F", help="The daemon's config, but hosts and mode.")
@click.option("--seed", type=int, default=0, metavar="N", help="Of the chance by which migrations fail.")
@click.option(
    "--failing", type=click.FloatRange(0, 1), default=0.0, metavar="RATIO", help="Part of migrations that fail."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for other tools.")
def simulate(  # noqa: PLR0913 - an argument an option
    *,
    snapshot_path: Path | None,
    load_path: Path | None,
    history: bool,
    since: str,
    names: tuple[str, ...],
    config_path: Path | None,
    seed: int,
    failing: float,
    as_json: bool,
) -> None:
    """Replay load on a cluster, and compare what the daemon would have done with what others would."""
    from .. import logs
    from ..simulation.loop import run
    from ..simulation.replay import replay
    from ..simulation.scene import Scene

    logs.configure(level="error")
    piece = _piece(snapshot_path, load_path, config_path, since if history else None)
    settings: PlannerSettings = piece.config.to_planner_settings()
    found = {}
    for name in _chosen((OWN, "none", *names) if history else names):
        scene = Scene(piece.snapshot, settings, seed=seed, failing_ratio=failing)
        found[name] = run(replay(scene, piece.load, _steering(name, piece.config), piece.happenings))
    figures = {name: dataclasses.asdict(one.figures) for name, one in found.items()}
    told = _sentence(piece, found[OWN].figures, found["none"].figures) if history else ""
    if as_json:
        print_json({"policies": figures} | ({"sentence": told} if told else {}))
    else:
        if told:
            click.echo(f"{told}\n")
        _show(figures)


def _piece(snapshot_path: Path | None, load_path: Path | None, config_path: Path | None, since: str | None) -> Piece:
    """What was asked for, read; BadInputError where that cannot be."""
    from ..config.loading import ConfigError, load
    from ..simulation.load import LoadError, read_load
    from ..simulation.own import config_for

    try:
        if since is not None:
            if snapshot_path or load_path:
                raise BadInputError("--history: is instead of --cluster and --load, not beside them")
            return _recorded(load(config_path), since)
        if snapshot_path is None or load_path is None:
            raise BadInputError("--cluster and --load: are needed both, or --history")
        snapshot = read_snapshot(snapshot_path)
        table = read_load(load_path, _uuids(snapshot))
        config = config_for(snapshot, None if config_path is None else load(config_path))
    except LoadError as error:
        raise BadInputError(str(error)) from None
    except ConfigError as error:
        raise BadInputError(error.problems[0]) from None
    if config_path is not None:
        snapshot = dataclasses.replace(snapshot, rules=config.to_rules())
    return Piece(snapshot, config, table)


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
