"""Tells of a cycle: what kind of decision it was, the sentence for people, and whether it is news. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..cluster.model import Snapshot
from ..cluster.reason import Reason
from ..operations.history import texts
from ..operations.records import Decision
from ..planner.plan import Plan, Step, Unmoved
from .autostart import Asked

_TOLD = 3
"""Moves named in a sentence."""


@dataclass(slots=True)
class Outcome:
    """What became of a plan's steps."""

    begun: list[Step] = field(default_factory=list)
    recommended: list[Step] = field(default_factory=list)
    watched: list[Step] = field(default_factory=list)
    """Those of VMs that are only observed."""
    held: list[tuple[Step, tuple[Reason, ...]]] = field(default_factory=list)
    """Those that the gate did not let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A decision, and its gist: an equal gist in the next cycle is no news, though ages and loads in it have moved."""

    decision: Decision
    gist: object
    unmoved: tuple[Unmoved, ...] = ()
    """VMs that should leave their host and do not: the plan found no place, or the gate held the step back."""
    basis: Snapshot | None = None
    """What the plan was made of; None without a plan."""

    @property
    def acted(self) -> bool:
        """Whether something came of it: a move or a start, or the word that there should be one."""
        return self.decision.kind in {"plan", "recommend", "observe"}


def account(cycle: str, wall: float, asked: Asked, found: Plan, outcome: Outcome) -> Account:
    """What a cycle came to."""
    decision = Decision(
        cycle=cycle,
        at=wall,
        kind=_kind(asked, found, outcome),
        sentence=_sentence(asked, found, outcome),
        plan=found.as_dict(),
        refused=tuple(step.held_back(reasons) for step, reasons in outcome.held),
    )
    held = tuple(Unmoved(vm=step.vm, host=step.source, reasons=reasons) for step, reasons in outcome.held)
    return Account(decision=decision, gist=_gist(asked, found, outcome), unmoved=found.unmoved + held)


def _kind(asked: Asked, found: Plan, outcome: Outcome) -> str:
    if outcome.begun or asked.starting:
        return "plan"
    if outcome.recommended:
        return "recommend"
    if outcome.watched:
        return "observe"
    if outcome.held or found.unmoved or asked.refused:
        return "blocked"
    return "quiet"


def _sentence(asked: Asked, found: Plan, outcome: Outcome) -> str:
    parts = [f"starting {', '.join(asked.starting)}, as defined to be"] if asked.starting else []
    parts += asked.refused
    if outcome.begun:
        parts.append(f"moving {_moves(outcome.begun)}")
    if outcome.recommended:
        parts.append(f"recommending {_moves(outcome.recommended)}")
    if outcome.watched:
        parts.append(f"would move {_moves(outcome.watched)}, but only observes")
    parts += [f"held back {step.vm} to {step.destination}: {texts(reasons)}" for step, reasons in outcome.held[:_TOLD]]
    if not (outcome.begun or outcome.recommended or outcome.watched or outcome.held):
        parts.append(found.summary)
    return "; ".join(parts)


def _moves(steps: Sequence[Step]) -> str:
    told = ", ".join(f"{step.vm} {step.source} -> {step.destination} ({step.reason.text})" for step in steps[:_TOLD])
    return told if len(steps) <= _TOLD else f"{told} and {len(steps) - _TOLD} more"


def _gist(asked: Asked, found: Plan, outcome: Outcome) -> object:
    return (
        asked.starting,
        len(asked.refused),
        [(step.uuid, step.destination) for step in outcome.begun],
        [(step.uuid, step.destination) for step in outcome.recommended],
        [(step.uuid, step.destination) for step in outcome.watched],
        [(step.uuid, step.destination, _codes(reasons)) for step, reasons in outcome.held],
        [(one.vm, one.host, _codes(one.reasons)) for one in found.unmoved],
        found.summary if not (found.steps or found.unmoved) else "",
    )


def _codes(reasons: Sequence[Reason]) -> list[str]:
    return [reason.code for reason in reasons]
