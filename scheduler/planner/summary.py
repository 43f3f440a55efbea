"""The one sentence that says what a plan does, or why it does nothing."""

from collections.abc import Collection

from . import contention, mending, pack, repair
from .explanation import named
from .load import Load
from .plan import Step, Unmoved, total_seconds
from .settings import Objective


def summary(
    before: Load, after: Load, steps: tuple[Step, ...], unmoved: tuple[Unmoved, ...], drain: Collection[str]
) -> str:
    """One sentence: what the plan does, or why it does nothing."""
    parts = [f"drain of {named(drain)}"] if drain else []
    if steps:
        batches = max(step.batch for step in steps)
        parts.append(f"{_counted(len(steps), 'move')} in {_counted(batches, 'batch')}")
        parts.append(f"takes about {_span(total_seconds(steps))}")
    repairs = sum(step.reason.code == repair.CODE for step in steps)
    if repairs:
        parts.append(f"{repairs} of them to repair a rule")
    mended = sum(step.reason.code == mending.CODE for step in steps)
    if mended:
        parts.append(f"{mended} to mend a soft one" if repairs else f"{mended} of them to mend a soft rule")
    relieved = before.waiting().sum() - after.waiting().sum()
    if relieved > 0.05 and not drain:
        parts.append(f"waiting falls from {before.waiting().sum():.1f} to {after.waiting().sum():.1f} cores")
    hosts = [one.host for one in unmoved]
    if {reason.code for one in unmoved for reason in one.reasons} == {contention.CODE_NOT_HELD}:
        parts.append(f"{named(hosts)} has not been short for long enough to act on")
    elif unmoved:
        example = f"{unmoved[0].vm}: {unmoved[0].reasons[0].text}"
        parts.append(f"{_counted(len(unmoved), 'VM')} on {named(hosts)} should leave and cannot ({example})")
    if not steps:
        parts.append("nothing to move")
        if not unmoved and not drain:
            parts.append(_calm(before))
    if before.settings.objective is Objective.PACK and not drain and pack.switchable(after):
        parts.append(f"{', '.join(pack.switchable(after))} can be switched off")
    return ", ".join(parts)


def _calm(load: Load) -> str:
    if not load.judged.any():
        return "no host is up with fresh figures"
    return "what is contended holds no VMs to move" if load.contended.any() else "no VM waits and no memory is short"


def _counted(number: int, noun: str) -> str:
    """`1 move`, `2 moves`, `2 batches`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}{'es' if noun.endswith('ch') else 's'}"


def _span(seconds: float) -> str:
    """`8 s`, `4 min 20 s`, `2 h 5 min`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
