"""Starting VMs: new ones from their definition, or defined ones."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click

from .client import ApiError, Record
from .session import DONE, FAILED, REFUSED, Session, live

_host = click.option("--host", help="On this host; refused, with reasons, when it may not be there.")
_dry_run = click.option("--dry-run", is_flag=True, help="Only say where and why.")


@click.command()
@click.argument("files", nargs=-1, type=click.File(encoding="utf-8"), metavar="FILE.xml...")
@_host
@_dry_run
@click.option("--snapshot", type=click.Path(path_type=Path), help="Decide on this snapshot, without a daemon.")
@click.option("--vm", "vms", multiple=True, type=click.Path(path_type=Path), help="With --snapshot: a VM, as JSON.")
@live
def place(
    session: Session,
    *,
    files: tuple[TextIO, ...],
    host: str | None,
    dry_run: bool,
    snapshot: Path | None,
    vms: tuple[Path, ...],
) -> int:
    """Define and start new VMs from libvirt XML, each on its best host.

    With --snapshot and --vm it only says which host that would be, and needs no daemon.
    """
    if snapshot and vms and not files:
        from .offline import place_offline

        return place_offline(snapshot, vms, as_json=session.as_json)
    if snapshot or vms:
        raise click.UsageError("without a daemon it takes --snapshot and --vm, and no FILE.xml")
    if not files:
        raise click.UsageError("Missing argument 'FILE.xml...'.")
    definitions = [_definition(file) for file in files]
    try:
        return _request(session, {"definitions": definitions, "host": host, "dry_run": dry_run})
    except ApiError as error:
        error.text = _by_file(error.text, files)
        raise


def _definition(file: TextIO) -> str:
    try:
        text = file.read()
    except UnicodeDecodeError:
        raise click.UsageError(f"{file.name}: is not UTF-8 text") from None
    if not text.strip():
        raise click.UsageError(f"{file.name}: is empty")
    return text


def _by_file(text: str, files: Sequence[TextIO]) -> str:
    """What the daemon says of `definitions[1]`, said of the file."""
    return re.sub(r"^definitions\[(\d+)\]", lambda found: files[int(found[1])].name, text)


@click.command()
@click.argument("vms", nargs=-1, required=True, metavar="VM|GLOB...")
@_host
@_dry_run
@live
def start(session: Session, *, vms: tuple[str, ...], host: str | None, dry_run: bool) -> int:
    """Start defined VMs, each on its best host; the definition moves along when that is another one."""
    return _request(session, {"vms": list(vms), "host": host, "dry_run": dry_run})


def _request(session: Session, body: Record) -> int:
    answer = session.api.post("/v1/placements", body)
    placements = answer["placements"]
    if not placements:
        raise ApiError("not_found", "no stopped VM is meant by that")
    session.show(answer, lambda: _show_all(placements))
    outcomes = {placement["outcome"] for placement in placements}
    if "refused" in outcomes:
        return REFUSED
    return FAILED if "failed" in outcomes else DONE


def _show_all(placements: list[Record]) -> None:
    for placement in placements:
        _show(placement)


def _show(placement: Record) -> None:
    from .present import reasons, say, table

    vm, host = placement["vm"], placement["host"]
    failures = [
        f"{each['host']} failed to start it: {each['error']}" for each in placement["attempts"] if each["error"]
    ]
    why = _without(placement["reason"], failures)
    if placement["outcome"] == "refused" and placement["refused"]:
        why = why.partition(": ")[0]  # each host's reasons follow in a line of their own
    match placement["outcome"]:
        case "started":
            say(f"{vm}: started on {host}" + (f": {why}" if why else ""))
        case "dry_run":
            say(f"{vm}: would start on {host}" + (f": {why}" if why else ""))
        case outcome:
            say(f"{vm}: {outcome}" + (f": {why}" if why else ""))
    for failure in failures:
        say(f"  {failure}")
    if placement["outcome"] == "dry_run" and placement["ranking"]:
        table(
            ("  RANKING", ">SCORE", "TERMS"),
            [(f"  {row['host']}", f"{row['score']:.3f}", _terms(row.get("terms"))) for row in placement["ranking"]],
        )
    if placement["outcome"] != "started":
        for refusal in placement["refused"]:
            say(f"  {refusal['host']}: {reasons(refusal['reasons'])}")
        for move in placement["moves_first"]:
            say(f"  there would be room after moving {move.get('vm')} to {move.get('destination')}")


def _without(text: str, told: Sequence[str]) -> str:
    """A sentence of several clauses, less those that are told in lines of their own."""
    for clause in told:
        text = text.replace(clause, "")
    return "; ".join(filter(None, text.split("; ")))


def _terms(terms: object) -> str:
    """The parts of a score, however the planner names them."""
    if isinstance(terms, dict):
        return ", ".join(
            f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}" for name, value in terms.items()
        )
    return ""
