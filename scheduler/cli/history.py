"""What happened: migrations, placements, decisions, and events as they come."""

import asyncio
import json
import sys

import click

from .client import Record, at
from .session import Session, live

_limit = click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first."
)
_QUIET_SECONDS = 0.3


@click.command()
@_limit
@live
def history(session: Session, *, limit: int) -> None:
    """List migrations and placements with their reasons and how they ended."""
    migrations = session.api.get("/v1/migrations", limit=limit)["migrations"]
    placements = session.api.get("/v1/placements", limit=limit)["placements"]
    session.show(
        {"migrations": migrations, "placements": placements}, lambda: _show_history(migrations, placements, limit)
    )


def _show_history(migrations: list[Record], placements: list[Record], limit: int) -> None:
    from .present import moment, say, seconds, table

    rows = [
        (
            each["requested_at"],
            each["vm"],
            f"{each['source']} -> {each['destination']}",
            each["state"],
            seconds(each["duration_seconds"]),
            "" if each["downtime_ms"] is None else f"{each['downtime_ms']} ms",
            f"{each['trigger']}: {each['error'] or each['reason']}",
        )
        for each in migrations
    ] + [
        (each["at"], each["vm"], f"-> {each['host'] or 'nowhere'}", each["outcome"], "", "", _why(each))
        for each in placements
    ]
    if not rows:
        say("nothing has been done yet")
        return
    rows.sort(key=lambda row: float(row[0]), reverse=True)
    table(
        ("WHEN", "VM", "WHERE", "OUTCOME", ">TOOK", ">STOOD", "WHY"),
        [(moment(at), *rest) for at, *rest in rows[:limit]],
    )


def _why(placement: Record) -> str:
    return f"{placement['trigger']}: {placement['reason']}" if placement["reason"] else str(placement["trigger"])


@click.command()
@click.argument("cycle", required=False)
@_limit
@live
def decisions(session: Session, *, cycle: str | None, limit: int) -> None:
    """List what the latest cycles decided, and why they did nothing else; of one CYCLE all that is known."""
    if cycle is not None:
        _show_decision(session, session.api.get(at("decisions", cycle)))
        return
    answer = session.api.get("/v1/decisions", limit=limit)
    session.show(answer, lambda: _show_decisions(answer["decisions"]))


def _show_decision(session: Session, answer: Record) -> None:
    from .decision import show

    session.show(answer, lambda: show(answer["decision"], answer["doings"]))


def _show_decisions(found: list[Record]) -> None:
    from .present import moment, reasons, say, table

    if not found:
        say("nothing has been decided yet")
        return
    rows: list[tuple[str, ...]] = []
    for each in found:
        rows.append((moment(each["at"]), each["cycle"], each["kind"], each["sentence"]))
        rows += [
            ("", "", "held back", f"{step['vm']} {step['source']} -> {step['destination']}: {reasons(step['reasons'])}")
            for step in each["refused"]
        ]
    table(("WHEN", "CYCLE", "KIND", "WHAT AND WHY"), rows)


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on, until interrupted.")
@live
def events(session: Session, *, follow: bool) -> None:
    """Print what the daemon remembers to have happened; with --json one object a line."""
    try:
        asyncio.run(_tell(session, follow=follow))
    except KeyboardInterrupt:
        sys.exit(130)


async def _tell(session: Session, *, follow: bool) -> None:
    from .present import moment

    told = False
    async for notice in session.api.notices(0, quiet_seconds=None if follow else _QUIET_SECONDS):
        told = True
        if session.as_json:
            click.echo(json.dumps(notice, ensure_ascii=False))
        else:
            click.echo(f"{moment(notice['at'])}  {notice['kind']:<10} {notice['text']}")
        sys.stdout.flush()
    if not (told or session.as_json):
        click.echo("nothing has happened since the daemon started")
