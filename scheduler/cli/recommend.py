"""Moves that wait for a person's word."""

import click

from .client import Record, at
from .migrate import no_wait, watch
from .session import Session, live


@click.command()
@live
def recommendations(session: Session) -> None:
    """List the moves that wait for approval."""
    answer = session.api.get("/v1/recommendations")
    session.show(answer, lambda: _show([each for each in answer["recommendations"] if each["state"] == "pending"]))


def _show(pending: list[Record]) -> None:
    from .present import moment, say, seconds, table

    if not pending:
        say("nothing is recommended")
        return
    table(
        (">ID", "VM", "FROM", "TO", ">GAIN", ">ABOUT", "SINCE", "WHY"),
        [
            (
                each["id"],
                each["vm"],
                each["source"],
                each["destination"],
                f"{each['gain']:.3f}",
                seconds(each["predicted_seconds"]),
                moment(each["at"]),
                each["reason"],
            )
            for each in pending
        ],
    )


@click.command()
@click.argument("ids", nargs=-1, required=True, type=click.IntRange(min=1), metavar="ID...")
@no_wait
@live
def approve(session: Session, *, ids: tuple[int, ...], no_wait: bool) -> int:
    """Have recommended moves done."""
    begun = [session.api.post(at("recommendations", each, "approve")) for each in ids]
    return watch(session, begun, no_wait=no_wait)


@click.command()
@click.argument("ids", nargs=-1, required=True, type=click.IntRange(min=1), metavar="ID...")
@live
def dismiss(session: Session, *, ids: tuple[int, ...]) -> None:
    """Turn recommended moves down."""
    dismissed = [session.api.post(at("recommendations", each, "dismiss")) for each in ids]
    session.show_lines(
        {"recommendations": dismissed},
        (f"{each['vm']} stays on {each['source']}: {each['state']}" for each in dismissed),
    )
