"""Placement rules as the operator wrote them, and which VMs they speak of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

PRIORITY_WEIGHTS: Final[Mapping[int, float]] = {-2: 0.25, -1: 0.5, 0: 1.0, 1: 2.0, 2: 4.0}
"""The priorities there are, and how much the waiting of a VM of each, and moving it, weighs."""


class Strength(StrEnum):
    """How binding a rule is: `must` is a hard filter, `should` a cost."""

    MUST = "must"
    SHOULD = "should"


@dataclass(frozen=True, slots=True)
class Pin:
    """VMs that belong on some hosts. `vm` is a selector (see `selects`), `hosts` are names or globs."""

    vm: str
    hosts: tuple[str, ...]
    strength: Strength = Strength.MUST

    def allows(self, host: str) -> bool:
        """Whether `host` is among the pinned hosts."""
        return any(fnmatchcase(host, pattern) for pattern in self.hosts)


@dataclass(frozen=True, slots=True)
class AntiAffinity:
    """VMs of which at most `max_per_host` run on one host, or in one failure domain.

    With `against` it speaks of two groups instead: no VM of one shares a host, or a domain, with a VM of the other.
    """

    vms: tuple[str, ...]
    strength: Strength = Strength.MUST
    max_per_host: int = 1
    spread_over: str | None = None
    """A label of hosts, such as `rack`: those with the same value count as one. A host without it counts alone."""
    against: tuple[str, ...] = ()
    """The other group; a VM that is selected for both is in the first. `max_per_host` is 1 then and says nothing."""


@dataclass(frozen=True, slots=True)
class Affinity:
    """VMs that run together on one host."""

    vms: tuple[str, ...]
    strength: Strength = Strength.MUST


@dataclass(frozen=True, slots=True)
class Priority:
    """How important VMs are, beside the others: one of PRIORITY_WEIGHTS, 0 is usual."""

    vms: tuple[str, ...]
    priority: int


@dataclass(frozen=True, slots=True)
class Rules:
    """All placement rules of the cluster."""

    pins: tuple[Pin, ...] = ()
    anti_affinity: tuple[AntiAffinity, ...] = ()
    affinity: tuple[Affinity, ...] = ()
    priorities: tuple[Priority, ...] = ()
    """The first one that means a VM counts."""


def selects(selector: str, *, name: str, uuid: str, labels: Mapping[str, str]) -> bool:
    """Whether `selector` means this VM.

    `tag:KEY` and `tag:KEY=VALUE` look at the labels in the VM's metadata; anything else is a UUID, the name, or a glob
    over it.
    """
    if selector.startswith("tag:"):
        key, equals, value = selector.removeprefix("tag:").partition("=")
        return key in labels and (not equals or labels[key] == value)
    return selector == name or selector.lower() == uuid.lower() or fnmatchcase(name, selector)


def selected_by_any(selectors: Iterable[str], *, name: str, uuid: str, labels: Mapping[str, str]) -> bool:
    """Whether at least one of `selectors` means this VM."""
    return any(selects(selector, name=name, uuid=uuid, labels=labels) for selector in selectors)
