"""Offline commands: plan, apply and schema, and placement over a snapshot; no daemon and no libvirt are needed.

Exit codes: 0 done, 2 bad input (one line that names the place), 3 no feasible answer.
"""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ..planner.settings import Objective, PlannerSettings

if TYPE_CHECKING:
    from rich.table import Table

    from ..cluster.model import Snapshot, Vm
    from ..planner.capacity import Capacity
    from ..planner.placement import Placement
    from ..planner.plan import Plan, Step

NO_ANSWER: Final = 3

_snapshot_option = click.option(
    "--snapshot", "snapshot_path", type=Path, required=True, metavar="FILE", help="Snapshot to read, - for stdin."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for other tools.")


class BadInputError(click.ClickException):
    """Input that cannot be used; shown as one line, whatever characters the names in it have."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        shown = (one if one.isprintable() else one.encode("unicode_escape").decode() for one in message)
        super().__init__("".join(shown))

    def show(self, file: Any = None) -> None:
        """Tell it on stderr."""
        click.echo(f"virt-scheduler: {self.format_message()}", file=file, err=file is None)


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """What `apply` needs of a plan's step."""

    uuid: str
    destination: str


@click.command()
@_snapshot_option
@click.option("--objective", type=click.Choice([kind.value for kind in Objective]), help="What to improve.")
@click.option("--max-moves", type=click.IntRange(min=0), metavar="N", help="Plan at most so many moves.")
@click.option("--max-gib", type=click.FloatRange(min=0), metavar="G", help="Move at most so much memory of VMs.")
@click.option("--weights", metavar="RESOURCE=W,...", help="Of `spread`: cpu=1,memory=1,vcpus=0 unless told.")
@click.option("--time-limit", type=click.FloatRange(min=0), metavar="SECONDS", help="Search at most so long.")
@click.option("--drain", multiple=True, metavar="HOST", help="Empty this host instead; may be repeated.")
@_json_option
@click.pass_context
def plan(  # noqa: PLR0913 - an argument an option
    context: click.Context,
    *,
    snapshot_path: Path,
    objective: str | None,
    max_moves: int | None,
    max_gib: float | None,
    weights: str | None,
    time_limit: float | None,
    drain: tuple[str, ...],
    as_json: bool,
) -> None:
    """Plan moves for a snapshot: which VM goes where, in which order, and why.

    What is not told is as the snapshot has it: one of a daemon has its settings, one of a drain the drained hosts.
    """
    from ..planner import balance

    told: dict[str, Any] = {
        "objective": None if objective is None else Objective(objective),
        "max_moves": max_moves,
        "max_gib": max_gib,
        "weights": None if weights is None else _weights(weights),
        "time_limit_seconds": time_limit,
    }
    snapshot = read_snapshot(snapshot_path)
    settings = replace(_settings(snapshot), **{name: value for name, value in told.items() if value is not None})
    names = [host.name for host in snapshot.hosts]
    for host in drain:
        if host not in names:
            raise BadInputError(f"--drain: {host!r} is not among the hosts: {', '.join(names)}")
    drain = drain or snapshot.drain or ()
    made = balance.plan(snapshot, settings, clock=time.monotonic, drain=drain)
    if as_json:
        print_json(made.as_dict())
    else:
        _show_plan(made)
    if drain and made.unmoved:
        context.exit(NO_ANSWER)


def _weights(text: str) -> dict[str, float]:
    """Of each resource of `spread`; one that is not named keeps its own."""
    weights = dict(PlannerSettings().weights)
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = -1.0
        if name not in weights or not 0 <= weight < float("inf"):
            allowed = ", ".join(f"{name}=NUMBER" for name in weights)
            raise BadInputError(f"--weights: {part!r} is not allowed, allowed are {allowed}, 0 or more")
        weights[name] = weight
    return weights


@click.command()
@_snapshot_option
@click.option("--plan", "plan_path", type=Path, required=True, metavar="FILE", help="What `plan --json` printed.")
def apply(snapshot_path: Path, plan_path: Path) -> None:
    """Print the snapshot that a plan leads to."""
    from ..cluster.codec import dump_snapshot
    from ..planner.plan import apply_plan

    snapshot = read_snapshot(snapshot_path)
    click.echo(dump_snapshot(apply_plan(snapshot, _read_moves(plan_path, snapshot))), nl=False)


@click.command()
@_snapshot_option
@click.option("--vm", "vm_path", type=Path, required=True, metavar="FILE", help="The VM, as JSON.")
@_json_option
@click.pass_context
def capacity(context: click.Context, *, snapshot_path: Path, vm_path: Path, as_json: bool) -> None:
    """Say how many more of a VM fit, what the cluster runs out of first, and what is left when a host is lost."""
    from ..planner.capacity import capacity as capacity_of

    snapshot, vms = read_snapshot(snapshot_path), _read_vms(vm_path)
    if len(vms) != 1:
        raise BadInputError(f"{vm_path}: holds {len(vms)} VMs, allowed is 1")
    found = capacity_of(snapshot, vms[0], _settings(snapshot))
    if as_json:
        print_json(found.as_dict())
    else:
        _show_capacity(vms[0].name, found)
    if not found.fits:
        context.exit(NO_ANSWER)


@click.command()
@click.argument("what", type=click.Choice(["config", "snapshot"]))
def schema(what: str) -> None:
    """Print the JSON Schema of a file format."""
    if what == "config":
        from ..config.schema import config_schema

        print_json(config_schema())
        return
    from ..cluster.codec import snapshot_schema

    print_json(snapshot_schema())


def place_offline(
    snapshot_path: Path, vm_paths: Sequence[Path], *, as_json: bool, settings: PlannerSettings | None = None
) -> int:
    """Place the VMs of JSON files (one VM or a list each) over a snapshot and show it; returns the exit code."""
    from ..planner.placement import place

    snapshot = read_snapshot(snapshot_path)
    vms = [vm for path in vm_paths for vm in _read_vms(path)]
    _refuse_unusable(snapshot, vms)
    placements = place(snapshot, vms, settings or _settings(snapshot))
    if as_json:
        shown = [placement.as_dict() for placement in placements]
        print_json(shown[0] if len(shown) == 1 else shown)
    else:
        for placement in placements:
            _show_placement(placement)
    return 0 if all(placement.host is not None for placement in placements) else NO_ANSWER


def explained(snapshot_path: Path, name: str, host: str | None) -> dict[str, Any]:
    """For each host of a snapshot (or `host`) whether the VM may be there, as the daemon's API tells it."""
    from ..planner.cost import cautions
    from ..planner.verdict import verdicts

    snapshot = read_snapshot(snapshot_path)
    try:
        vm = snapshot.vm(name)
    except KeyError:
        raise BadInputError(f"{snapshot_path}: {name!r} is not one VM of the snapshot") from None
    if host is not None and host not in {known.name for known in snapshot.hosts}:
        raise BadInputError(f"--host: {host!r} is not among the hosts")
    told = [
        {
            "host": one.host,
            "allowed": one.allowed,
            "score": one.score,
            "reasons": [reason.as_dict() for reason in one.reasons],
            "changes": [change.as_dict() for change in one.changes],
            "forecast": None if one.forecast is None else asdict(one.forecast),
        }
        for one in verdicts(snapshot, vm, _settings(snapshot), host)
    ]
    left_alone: dict[str, Any] = {"hold": vm.hold, "not_to": dict(vm.not_to), "quarantine": vm.quarantine}
    careful = cautions(vm, *(known for known in snapshot.hosts if host in {None, known.name} or known.name == vm.host))
    left_alone["cautions"] = [reason.as_dict() for reason in careful]
    return {"vm": vm.name, "host": vm.host, "verdicts": told, **left_alone}


def _refuse_unusable(snapshot: "Snapshot", vms: list["Vm"]) -> None:
    hosts = {host.name for host in snapshot.hosts}
    seen: set[str] = set()
    for vm in vms:
        if vm.uuid in seen:
            raise BadInputError(f"--vm: {vm.name!r} is given twice")
        if vm.host is not None and vm.host not in hosts:
            raise BadInputError(f"--vm: {vm.name!r}: host: {vm.host!r} is not among the hosts")
        seen.add(vm.uuid)


def _read(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}") from None


def read_snapshot(path: Path) -> "Snapshot":
    """The snapshot of a file, or of stdin for -; BadInputError when it is none."""
    from ..cluster.codec import SnapshotError, load_snapshot

    try:
        return load_snapshot(_read(path), str(path))
    except SnapshotError as error:
        raise BadInputError(str(error)) from None


def _settings(snapshot: "Snapshot") -> PlannerSettings:
    """What the daemon plans by that the snapshot is of; the defaults for one of another tool."""
    return snapshot.settings or PlannerSettings()


def _read_vms(path: Path) -> tuple["Vm", ...]:
    from ..cluster.codec import SnapshotError, load_vms

    try:
        return load_vms(_read(path), str(path))
    except SnapshotError as error:
        raise BadInputError(str(error)) from None


def _read_moves(path: Path, snapshot: "Snapshot") -> Iterable[PlannedMove]:
    try:
        steps = json.loads(_read(path))["steps"]
        wanted = [tuple(_word(step[key]) for key in ("vm", "source", "destination")) for step in steps]
    except RecursionError:
        raise BadInputError(f"{path}: not JSON: it is nested too deeply") from None
    except ValueError as error:
        raise BadInputError(f"{path}: not JSON: {error}") from None
    except (TypeError, KeyError):
        raise BadInputError(f"{path}: steps: must be a list of objects with vm, source and destination") from None
    where = {vm.uuid: vm.host for vm in snapshot.vms}
    hosts = {host.name for host in snapshot.hosts}
    moves = []
    for place, (name, source, destination) in enumerate(wanted):
        try:
            vm = snapshot.vm(name)
        except KeyError:
            raise BadInputError(f"{path}: steps[{place}].vm: {name!r} is not one VM of the snapshot") from None
        if where[vm.uuid] != source:
            raise BadInputError(f"{path}: steps[{place}].source: {name} is on {where[vm.uuid]}, not on {source}")
        if destination not in hosts:
            raise BadInputError(f"{path}: steps[{place}].destination: {destination!r} is not among the hosts")
        where[vm.uuid] = destination
        moves.append(PlannedMove(vm.uuid, destination))
    return moves


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def print_json(value: Any) -> None:
    """Print for other tools."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _show_plan(made: "Plan") -> None:
    click.echo(made.summary)
    terms = _table("term", "weight", "before", "after", "unit")
    for term in made.terms:
        terms.add_row(term.name, f"{term.weight:g}", f"{term.before:.3f}", f"{term.after:.3f}", term.unit)
    terms.add_row("score", "", f"{made.score_before:.3f}", f"{made.score_after:.3f}", "")
    _show(terms)
    _show_steps(made.steps)
    if made.unmoved:
        unmoved = _table("not moved", "on", "why")
        for one in made.unmoved:
            unmoved.add_row(one.vm, one.host, "\n".join(map(str, one.reasons)))
        _show(unmoved)


def _show_steps(steps: Sequence["Step"]) -> None:
    if not steps:
        return
    table = _table("batch", "VM", "from", "to", "seconds", "GiB", "gain", "why")
    for step in steps:
        cost = (f"{step.predicted_seconds:.0f}", f"{step.memory_mib / 1024:.1f}")
        cells = (str(step.batch), step.vm, step.source, step.destination, *cost, f"{step.gain:.3f}", step.reason.text)
        table.add_row(*cells)
    _show(table)


def _show_capacity(name: str, found: "Capacity") -> None:
    click.echo(f"{name}: {found.fits} more fit, then there is no more {found.runs_out_of.replace('_', ' ')}")
    if found.homeless_after_loss:
        lost = f"{found.homeless_after_loss} of its VMs find no place and no new one does"
    else:
        ends = (found.runs_out_of_after_loss or "").replace("_", " ")
        lost = f"{found.fits_after_loss} more fit beside its VMs, then there is no more {ends}"
    if found.worst_loss is not None:
        click.echo(f"when {found.worst_loss} is lost, the worst to lose, {lost}")
    hosts = _table("host", "fit", "ends with")
    for one in found.hosts:
        hosts.add_row(one.host, str(one.fits), one.runs_out_of)
    _show(hosts)


def _show_placement(placement: "Placement") -> None:
    click.echo(f"{placement.vm}: {placement.host or 'no host can take it'}")
    hosts = _table("host", "score", "why")
    for ranked in placement.ranking:
        parts = (f"{name} {value:.2f}" for name, value in ranked.terms.items() if value)
        hosts.add_row(ranked.host, f"{ranked.score:.3f}", ", ".join(parts))
    for refusal in placement.refused:
        hosts.add_row(refusal.host, "refused", "\n".join(map(str, refusal.reasons)))
    _show(hosts)
    if placement.moves_first:
        click.echo("these moves first would make room:")
    _show_steps(placement.moves_first)


def _table(*columns: str) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _show(table: "Table") -> None:
    from rich.console import Console

    # A pipe has no width: wide enough that a line stays a line there.
    console = Console(soft_wrap=False)
    Console(width=console.width if console.is_terminal else 200, highlight=False, markup=False).print(table)
