"""`virt-scheduler lab`: a real cluster of libvirt hosts on this machine."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..lab.errors import LabError
from ..lab.lab import HOME, Lab
from ..lab.packages import why_not
from ..lab.spec import MAX_HOSTS, default_spec

if TYPE_CHECKING:
    from typing import NoReturn

_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=HOME / "default",
    show_default=True,
    help="Where the lab keeps everything; several labs take several directories.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for other tools.")


@click.group()
def lab() -> None:
    """Build a real cluster of libvirt hosts on this machine (needs root)."""


@lab.command()
@click.option("--hosts", type=click.IntRange(1, MAX_HOSTS), default=3, show_default=True, help="How many hosts.")
@_directory
@_as_json
def up(hosts: int, directory: Path, as_json: bool) -> None:
    """Bring a lab up and print the path of a ready configuration file."""
    if reason := why_not():
        _refuse(reason)
    began = time.monotonic()
    try:
        created = Lab.create(directory, default_spec(hosts))
        created.up()
    except LabError as error:
        _refuse(str(error))
    _show(created.status(), as_json=as_json)
    click.echo(f"{hosts} hosts up in {time.monotonic() - began:.1f} s", err=True)


@lab.command()
@_directory
def down(directory: Path) -> None:
    """Take a lab down without a trace, whoever brought it up."""
    if os.geteuid() != 0:
        _refuse("the lab needs root")
    try:
        if Lab.exists(directory):
            Lab.load(directory).down()
    except LabError as error:
        _refuse(str(error))
    click.echo(f"{directory}: no lab there any more", err=True)


@lab.command()
@_directory
@_as_json
def status(directory: Path, as_json: bool) -> None:
    """Show a lab's hosts and how to reach them."""
    try:
        _show(Lab.load(directory).status(), as_json=as_json)
    except LabError as error:
        _refuse(str(error))
    except PermissionError:
        _refuse(f"{directory}: only root may look at a lab")


def _show(status: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(status, indent=2))
        return
    click.echo(status["config"])
    for host in status["hosts"]:
        state = "up" if host["libvirtd_pid"] else "down"
        click.echo(
            f"  {host['name']:<8} {state:<5} {host['address']:<12} {host['cpu_model']:<14} "
            f"{host['cpus']} cores {host['memory_mib']} MiB  {host['guests']} guests  {host['uri']}"
        )


def _refuse(reason: str) -> NoReturn:
    click.echo(f"virt-scheduler lab: {reason}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    lab(prog_name="virt-scheduler lab")
