"""Placement rules, priorities and modes of VMs."""

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from ..cluster.rules import PRIORITY_WEIGHTS, Strength
from ..operations.settings import Mode
from .quantities import Count
from .section import HostGlobs, Section, Selector, Selectors


def _priority(value: int) -> int:
    if value not in PRIORITY_WEIGHTS:
        raise ValueError(f"{value} is no priority; one of: {', '.join(map(str, PRIORITY_WEIGHTS))}")
    return value


class PinSection(Section):
    """VMs that belong on some hosts."""

    vm: Selector
    """A name, a glob over names, a UUID, `tag:KEY` or `tag:KEY=VALUE`."""
    hosts: HostGlobs
    """Names or globs of hosts."""
    strength: Strength = Strength.MUST
    """`must` is never broken, `should` has a cost."""


class AntiAffinitySection(Section):
    """VMs that keep apart."""

    vms: Selectors
    """Names, globs, UUIDs or tags; all VMs they mean are one group."""
    against: tuple[Selector, ...] = ()
    """Another group: none of `vms` shares a host with one of these. A VM that both mean is one of `vms`."""
    strength: Strength = Strength.MUST
    """`must` is never broken, `should` has a cost."""
    max_per_host: Count = 1
    """How many of the group may run on one host; not beside `against`."""
    spread_over: str = ""
    """A label of hosts, such as `rack`: hosts with the same value count as one; empty: each host counts alone."""


class AffinitySection(Section):
    """VMs that run together on one host."""

    vms: Selectors
    """Names, globs, UUIDs or tags; all VMs they mean are one group."""
    strength: Strength = Strength.MUST
    """`must` is never broken, `should` has a cost."""


class PrioritySection(Section):
    """How important VMs are."""

    vms: Selectors
    """Names, globs, UUIDs or tags; the first entry that means a VM counts."""
    priority: Annotated[
        int, Field(strict=True), AfterValidator(_priority), WithJsonSchema({"enum": list(PRIORITY_WEIGHTS)})
    ]
    """-2, -1, 0 (usual), 1 or 2: each weighs twice as much as the one before."""


class ModeSection(Section):
    """The mode of some VMs."""

    vm: Selector
    """A name, a glob over names, a UUID, `tag:KEY` or `tag:KEY=VALUE`."""
    mode: Mode
    """Theirs instead of their host's or the cluster's; the first entry that means a VM counts."""
