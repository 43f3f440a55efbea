"""One decision in full: what was planned, on what figures, what was held back and why, and what came of it."""

from .client import Record
from .present import moment, reasons, say, seconds, table


def show(decision: Record, doings: Record) -> None:
    """Print what the API answers for one cycle."""
    say(f"{decision['cycle']} at {moment(decision['at'])}: {decision['sentence']}")
    plan = decision["plan"] or {}
    if plan.get("terms"):
        _show_figures(plan)
    rows = [_row(step, decision, doings) for step in plan.get("steps", ())] + _unplanned(plan, doings)
    if rows:
        table((">BATCH", "VM", "WHERE", "WHY", "WHAT CAME OF IT"), rows)
    for vm in plan.get("unmoved", ()):
        say(f"{vm['vm']} stays on {vm['host']}: {reasons(vm['reasons'])}")
    if doings["snapshot_kept"]:
        say(f"what it was decided on: virt-scheduler snapshot --cycle {decision['cycle']}")


def _show_figures(plan: Record) -> None:
    terms = [
        (term["name"], f"{term['weight']:g}", f"{term['before']:.3f}", f"{term['after']:.3f}", term["unit"])
        for term in plan["terms"]
    ]
    score = ("score", "", f"{plan['score_before']:.3f}", f"{plan['score_after']:.3f}", "lower is better")
    table((plan["objective"].upper(), ">WEIGHT", ">BEFORE", ">AFTER", ""), [*terms, score])


def _row(step: Record, decision: Record, doings: Record) -> tuple[object, ...]:
    where = f"{step['source']} -> {step['destination']}"
    return step["batch"], step["vm"], where, step["reason"]["text"], _outcome(step, decision, doings)


def _outcome(step: Record, decision: Record, doings: Record) -> str:
    """What became of a step of the plan, in a clause."""
    for migration in doings["migrations"]:
        if _same(migration, step):
            return _ended(migration)
    for held in decision["refused"]:
        if _same(held, step):
            return f"held back: {reasons(held['reasons'])}"
    for recommended in doings["recommendations"]:
        if _same(recommended, step):
            return f"recommendation {recommended['id']}: {recommended['state']}"
    return {
        "observe": "only observed",
        "recommend": "recommended before",
        "plan": "left to a later plan",
    }.get(decision["kind"], "not begun")


def _unplanned(plan: Record, doings: Record) -> list[tuple[object, ...]]:
    """Migrations that the cycle began beside its plan, and the VMs that it started."""
    steps = plan.get("steps", ())
    beside = [one for one in doings["migrations"] if not any(_same(one, step) for step in steps)]
    return [
        ("", one["vm"], f"{one['source']} -> {one['destination']}", one["reason"], _ended(one)) for one in beside
    ] + [
        ("", one["vm"], f"-> {one['host'] or 'nowhere'}", one["reason"], one["outcome"]) for one in doings["placements"]
    ]


def _ended(migration: Record) -> str:
    took = f" in {seconds(migration['duration_seconds'])}" if migration["duration_seconds"] is not None else ""
    stood = f", {migration['downtime_ms']} ms of it standing still" if migration["downtime_ms"] is not None else ""
    return f"{migration['state']}{took}{stood}" + (f": {migration['error']}" if migration["error"] else "")


def _same(one: Record, step: Record) -> bool:
    return all(one[key] == step[key] for key in ("vm", "source", "destination"))
