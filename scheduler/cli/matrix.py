"""What can move where, before anything is tried; and the CPU that all hosts share."""

from collections.abc import Iterable

import click

from .client import Record, at
from .session import Session, live

_CELLS = {"yes": "yes", "no": "no", "unknown": "?"}


@click.command()
@click.option("--vm", metavar="VM", help="Of this VM, by all that holds for it; else of guests with their host's CPU.")
@click.option("--baseline", is_flag=True, help="The CPU that every host can run, and what it costs each.")
@live
def matrix(session: Session, *, vm: str | None, baseline: bool) -> None:
    """Say for each pair of hosts whether guests of the one can move to the other, and what is missing.

    The hosts' own libvirt is asked. Rows are sources, columns destinations.
    """
    if baseline:
        if vm is not None:
            raise click.UsageError("--baseline is about hosts, not about a VM")
        answer = session.api.get(at("matrix", "baseline"))
        session.show(answer, lambda: _show_baseline(answer))
        return
    answer = session.api.get(at("matrix"), vm=vm)
    session.show(answer, lambda: _show_matrix(answer))


def _show_matrix(answer: Record) -> None:
    from .present import reasons, say, table

    names = [host["name"] for host in answer["hosts"]]
    ways = {(pair["source"], pair["destination"]): pair for pair in answer["pairs"]}
    if answer["vm"] is None:
        say("Can a guest with the CPU of the host in the row (host-model) move to the host in the column?")
    else:
        say(f"Can {answer['vm']}, which is on {answer['host']}, move from the host in the row to that in the column?")
    table(
        ("FROM \\ TO", *names),
        [
            (_labelled(host), *(_cell(ways.get((host["name"], name))) for name in names))
            for host in answer["hosts"]
        ],
    )  # fmt: skip
    hindered = [pair for pair in answer["pairs"] if pair["possible"] != "yes"]
    if hindered:
        say("")
        table(
            ("FROM", "TO", "", "WHY NOT"),
            [
                (pair["source"], pair["destination"], _CELLS[pair["possible"]], reasons(pair["reasons"]))
                for pair in hindered
            ],
        )


def _cell(pair: Record | None) -> str:
    return "-" if pair is None else _CELLS[pair["possible"]]


def _labelled(host: Record) -> str:
    model = f" ({host['cpu_model']})" if host["cpu_model"] else ""
    return f"{host['name']}{model}"


def _show_baseline(answer: Record) -> None:
    from .present import say, table

    say(answer["cpu_xml"])
    say("")
    say("In the place of a VM's <cpu>, this lets it move between all hosts, from its next start on.")
    held = answer["held_back_by"]
    say(f"held back by {', '.join(held)}" if held else "the hosts are alike: nothing is lost")
    table(
        ("HOST", "CPU", "WITHOUT IT ALL COULD HAVE", "WITH IT GUESTS LOSE"),
        [
            (host["name"], host["cpu_model"] or "?", _names(host["holds_back"]), _names(host["loses"]))
            for host in answer["hosts"]
        ],
    )
    for host in answer["left_out"]:
        say(f"{host['name']} is not regarded: {host['reason']['text']}")


def _names(features: Iterable[str]) -> str:
    return ", ".join(features) or "-"
