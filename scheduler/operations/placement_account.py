"""Tells of a placement: its record, and the one sentence that says why this host, or why none. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..planner.placement import Placement, Ranked, Refusal
from .history import texts
from .records import Attempt, PlacementOutcome, PlacementRecord, Trigger
from .rehearsal import Rehearsal

_TEXTS_TOLD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How a start was asked for. `host` None: the best one."""

    host: str | None
    rehearsal: Rehearsal | None
    """What it is part of when it is only a dry run."""
    trigger: Trigger
    requested_by: str
    cycle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How it went. `placement` is the first choice made, `host` where it was (or, dry, would be) started."""

    placement: Placement
    host: str | None
    attempts: Sequence[Attempt] = ()
    trouble: str = ""


def account(order: Order, course: Course, at: float) -> PlacementRecord:
    """The record of a placement that ended, without its id."""
    told = course.placement.as_dict()
    return PlacementRecord(
        id=0,
        vm=course.placement.vm,
        uuid=course.placement.uuid,
        outcome=_outcome(order, course),
        trigger=order.trigger,
        at=at,
        host=course.host,
        reason=_sentence(order, course),
        requested_by=order.requested_by,
        cycle=order.cycle,
        attempts=tuple(course.attempts),
        ranking=tuple(told["ranking"]),  # type: ignore[arg-type]
        refused=tuple(told["refused"]),  # type: ignore[arg-type]
        moves_first=tuple(told["moves_first"]),  # type: ignore[arg-type]
    )


def _outcome(order: Order, course: Course) -> PlacementOutcome:
    if course.host is not None:
        return PlacementOutcome.DRY_RUN if order.rehearsal is not None else PlacementOutcome.STARTED
    return PlacementOutcome.FAILED if course.attempts else PlacementOutcome.REFUSED


def _sentence(order: Order, course: Course) -> str:
    failures = [f"{attempt.host} failed to start it: {attempt.error}" for attempt in course.attempts if attempt.error]
    if course.host is not None:
        parts = [_why(course.placement, course.host, chosen=order.host is not None), *failures]
    elif failures:
        parts = failures
    else:
        parts = [_why_none(course.placement, order.host)]
    return "; ".join(filter(None, [*parts, course.trouble]))


def _why(placement: Placement, host: str, *, chosen: bool) -> str:
    if chosen:
        return "asked for"
    if len(placement.ranking) < 2:
        others = _told(placement.refused)
        return "the only host that can take it" + (f" ({others})" if others else "")
    ranked = {one.host: one for one in placement.ranking}
    here = ranked.pop(host)
    following = min(ranked.values(), key=lambda one: one.score)
    best = f"best of {len(placement.ranking)} hosts" if here.score <= following.score else "next best"
    return f"{best}: {_use(here)}; {following.host} {_use(following)}"


def _use(ranked: Ranked) -> str:
    """What the host would be like with the VM; the score where the planner tells no terms."""
    cpu, memory = ranked.terms.get("cpu"), ranked.terms.get("memory")
    if cpu is None or memory is None:
        return f"scores {ranked.score:.2f}"
    others = {name: value for name, value in ranked.terms.items() if name not in {"cpu", "memory"} and value > 0}
    also = "".join(f", {name.replace('_', ' ')} {value:.2f}" for name, value in others.items())
    return f"CPU {cpu:.0%} and memory {memory:.0%} used with it{also}"


def _why_none(placement: Placement, asked_for: str | None) -> str:
    if asked_for is None:
        return f"no host can take it: {_told(placement.refused) or 'there is none'}"
    reasons = next((refusal.reasons for refusal in placement.refused if refusal.host == asked_for), None)
    return f"{asked_for} cannot take it: {texts(reasons) if reasons else 'there is no such host'}"


def _told(refused: Sequence[Refusal]) -> str:
    """The refusals, hosts with the same reasons together: `node1, node2: 300 MiB short; node3: ...`."""
    hosts_by_text: dict[str, list[str]] = {}
    for refusal in refused:
        hosts_by_text.setdefault(texts(refusal.reasons), []).append(refusal.host)
    told = [f"{', '.join(hosts)}: {text}" for text, hosts in list(hosts_by_text.items())[:_TEXTS_TOLD]]
    more = len(hosts_by_text) - len(told)
    return "; ".join([*told, f"and {more} other reasons"] if more > 0 else told)
