"""The number of series: bounded by hosts and enumerations, whatever VMs there are and whatever happens to them."""

import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from scheduler.cluster.observation import EventKind
from scheduler.cluster.reason import Reason
from scheduler.filters import registry
from scheduler.operations.records import Decision, MigrationState, PlacementOutcome, Trigger
from scheduler.operations.settings import Mode
from scheduler.planner.plan import Unmoved
from scheduler.planner.standing import Standing
from scheduler.web.metrics import Metrics

from .memory import MemoryControl, migration_record
from .observed import placement

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
KINDS = ("quiet", "plan", "recommend", "observe", "blocked", "error")


def series(control: MemoryControl, *, hosts: int, vms: int) -> int:
    """How many series there are when everything has happened to all of them, without those of pairs and of reasons."""
    names = [f"host{number}" for number in range(hosts)]
    first, one, guest = control.cluster.hosts[0], control.hosts()[0], control.cluster.vms[0]
    guests = tuple(replace(guest, name=f"vm{number}", uuid=f"u-{number}", host=names[0]) for number in range(vms))
    seen = replace(control.cluster, hosts=tuple(replace(first, name=name) for name in names), vms=guests)
    metrics = Metrics(lambda: seen, lambda: [replace(one, name=name) for name in names], clock=lambda: 1000.0)
    metrics.hosts_configured(names)
    for name, event in product(names, EventKind):
        metrics.libvirt_event(name, event)
        metrics.reconnected(name)
    for state, trigger, number in product(MigrationState, Trigger, range(vms)):
        if state.final:
            metrics.migration_ended(migration_record(vm=f"vm{number}", state=state, trigger=trigger))
    for outcome in PlacementOutcome:
        if outcome.final:
            metrics.placement_ended(placement(outcome))
    metrics.rejected(Reason(rule.CODE, "") for rule in registry.FILTERS)
    for kind in KINDS:
        metrics.decided(Decision(cycle="c1", at=1.0, sentence="", kind=kind))
    metrics.unmoved(Unmoved(vm=vm.name, host=names[0], reasons=(Reason("pinned", ""),)) for vm in guests)
    metrics.stands(Standing(homeless=dict.fromkeys(names, 0), misplaced={rule.CODE: 0 for rule in registry.RULES}))
    for mode in Mode:
        metrics.mode_set(mode)
    families = {family.name: len(family.samples) for family in metrics.registry.collect()}
    return sum(families.values()) - families["virt_scheduler_migrations"] - families["virt_scheduler_vms_unmoved"]


def test_vms_add_no_series(control: MemoryControl) -> None:
    assert series(control, hosts=3, vms=5) == series(control, hosts=3, vms=50)


def test_a_host_adds_as_many_as_documented_and_the_daemon_has_as_many(control: MemoryControl) -> None:
    stated = re.search(r"at\s+most\s+(\d+)\s+for\s+the\s+daemon,\s+(\d+)\s+for\s+each\s+host", DOCS.read_text())
    assert stated is not None
    small, large = (series(control, hosts=hosts, vms=1) for hosts in (3, 13))
    per_host = (large - small) / 10
    assert (small - 3 * per_host, per_host) == pytest.approx((int(stated[1]), int(stated[2])))
