"""Standing: how the cluster stands as it is: the loss of which hosts it could not bear, and which rules are broken."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ..cluster.model import Snapshot
from ..filters import registry
from ..filters.view import View
from .loss import Losses
from .repair import violations


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is so, whatever may be done about it."""

    homeless: Mapping[str, int]
    """By host: how many of its VMs would find no place on the others if it were lost; see `loss`."""
    misplaced: Mapping[str, int]
    """By must-rule, its filter's code: how many running VMs break it first where they are."""


def standing(snapshot: Snapshot) -> Standing:
    """How the cluster stands. All hosts and all rules are named, also with 0."""
    view = View(snapshot)
    homeless = Losses(view).now()
    broken = Counter(reason.code for reason in violations(view).values())
    return Standing(
        homeless={host.name: int(count) for host, count in zip(view.hosts, homeless, strict=True)},
        misplaced={rule.CODE: broken[rule.CODE] for rule in registry.RULES},
    )
