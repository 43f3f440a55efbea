"""Migrations: begin, watch, abort; and emptying a host."""

import time

import click

from .client import ApiError, Record, at
from .progress import FINAL_STATES, follow, looks, outcome, way
from .session import DONE, FAILED, REFUSED, Session, fail, live, unwatched

no_wait = click.option("--no-wait", is_flag=True, help="Return as soon as it is under way.")
_STALLED_SECONDS = 120.0
"""A drain of which nothing has moved for so long is reported as it stands."""


@click.command()
@click.argument("vms", nargs=-1, required=True, metavar="VM|GLOB...")
@click.option("--to", metavar="HOST", help="Where to; without it the best host is chosen.")
@click.option("--dry-run", is_flag=True, help="Only check, and say where to.")
@no_wait
@live
def migrate(session: Session, *, vms: tuple[str, ...], to: str | None, dry_run: bool, no_wait: bool) -> int:
    """Migrate running VMs live; each is checked before it is tried.

    Exit codes: 0 all completed, 1 one failed, 3 one was refused.
    """
    answer = session.api.post("/v1/migrations", {"vms": list(vms), "to": to, "dry_run": dry_run})
    begun = answer["migrations"]
    if not begun:
        raise ApiError("not_found", "no running VM is meant by that")
    if dry_run:
        session.show_lines(answer, map(_would, begun))
        return REFUSED if any(record["error"] for record in begun) else DONE
    return watch(session, begun, no_wait=no_wait)


def watch(session: Session, begun: list[Record], *, no_wait: bool) -> int:
    """Follow migrations that were asked for and tell how each ended; returns the exit code.

    One that had failed before it began was refused.
    """
    refused = {record["id"] for record in begun if record["state"] == "failed"}
    records = begun
    if not no_wait:
        with unwatched("the migrations go on without being watched; `virt-scheduler abort VM` ends one"):
            records = follow(session.api, begun, quiet=session.as_json)
    session.show_lines(
        {"migrations": records},
        (_would(record) if record["id"] in refused else outcome(record) for record in records),
    )
    if refused:
        return REFUSED
    return DONE if no_wait or all(record["state"] == "completed" for record in records) else FAILED


def _would(record: Record) -> str:
    if record["error"]:
        return f"{way(record)}: refused: {record['error']}"
    if not record["predicted_seconds"]:
        return f"{way(record)}: would be migrated"
    from .present import forecast

    sent = record.get("predicted_bytes")
    told = forecast(
        record["predicted_seconds"], record.get("predicted_downtime_ms"), None if sent is None else sent / 2**20
    )
    return f"{way(record)}: would be migrated, about {told}"


@click.command()
@click.argument("vm")
@live
def abort(session: Session, *, vm: str) -> int:
    """Abort a VM's migration; it keeps running where it is."""
    for record in session.api.get("/v1/migrations", limit=1000)["migrations"]:
        if vm in (record["vm"], record["uuid"]) and record["state"] not in FINAL_STATES:
            aborted = session.api.delete(at("migrations", record["id"]))
            session.show_lines(aborted, [f"{way(aborted)}: abort asked for, now {aborted['state']}"])
            return DONE
    raise ApiError("conflict", f"{vm} is not being migrated")


@click.command()
@click.argument("host")
@click.option("--dry-run", is_flag=True, help="Only say what would move where.")
@no_wait
@live
def drain(session: Session, *, host: str, dry_run: bool, no_wait: bool) -> int:
    """Cordon a host and move its VMs away.

    Exit codes: 0 none is left, 1 one failed to move, 3 one can go nowhere.
    """
    latest = session.api.get("/v1/migrations", limit=1)["migrations"]
    plan = session.api.post(at("hosts", host, "drain"), {"dry_run": dry_run})["plan"]
    if not session.as_json:
        _show_plan(plan)
    ended: list[Record] = []
    if not (dry_run or no_wait) and plan["steps"]:
        with unwatched(f"the drain goes on without being watched; `virt-scheduler uncordon {host}` ends it"):
            ended = _wait_for_drain(session, host, plan, after=latest[0]["id"] if latest else 0)
        for record in () if session.as_json else ended:
            click.echo(outcome(record))
    session.show({"plan": plan, "migrations": ended}, lambda: None)
    moved = {record["vm"] for record in ended if record["state"] == "completed"}
    if plan.get("unmoved"):
        return REFUSED
    return DONE if dry_run or no_wait or moved >= _leaving(plan, host) else FAILED


def _leaving(plan: Record, host: str) -> set[str]:
    """Names of the VMs that the plan moves off `host`; others may make room for them."""
    return {step["vm"] for step in plan["steps"] if step["source"] == host}


def _show_plan(plan: Record) -> None:
    from .present import reasons, say, seconds, table

    if plan.get("summary"):
        say(plan["summary"])
    if plan["steps"]:
        table(
            (">BATCH", "VM", "FROM", "TO", ">ABOUT", "WHY"),
            [
                (
                    step["batch"],
                    step["vm"],
                    step["source"],
                    step["destination"],
                    seconds(step["predicted_seconds"]),
                    step["reason"]["text"],
                )
                for step in plan["steps"]
            ],
        )
    for vm in plan.get("unmoved", ()):
        say(f"{vm['vm']} stays on {vm['host']}: {reasons(vm['reasons'])}")


def _wait_for_drain(session: Session, host: str, plan: Record, *, after: int) -> list[Record]:
    """Watch the migrations off `host` newer than `after` until each VM of the plan has had its own.

    A step begins only when its batch's turn comes, so they are found as they appear.
    """
    planned = _leaving(plan, host)
    newest = min(1000, 100 + 4 * len(planned))
    latest: dict[str, Record] = {}
    changed_at = time.monotonic()
    for _ in looks():
        for record in reversed(session.api.get("/v1/migrations", limit=newest)["migrations"]):
            if record["id"] > after and record["source"] == host and latest.get(record["vm"]) != record:
                if not session.as_json and latest.get(record["vm"], {}).get("state") != record["state"]:
                    click.echo(f"{way(record)}: {record['state']}")
                latest[record["vm"]] = record
                changed_at = time.monotonic()
        ended = {vm for vm, record in latest.items() if record["state"] in FINAL_STATES}
        under_way = latest.keys() - ended
        if not (under_way or planned <= ended) and session.api.get(at("hosts", host))["state"] == "up":
            fail(f"{host} is in use again: what had not begun to move stays")
            break
        if planned <= ended or time.monotonic() - changed_at > _STALLED_SECONDS:
            break
    return list(latest.values())
