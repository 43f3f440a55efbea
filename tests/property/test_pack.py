"""The law of `pack`, on generated clusters: what could be lost before can be lost after, without what is switched off.

A checker that tries all ways to start the lost VMs stands beside the planner's own, which is fast and may miss one.
"""

from dataclasses import replace

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler.cluster.model import Snapshot
from scheduler.filters.view import View
from scheduler.planner.load import Load
from scheduler.planner.loss import Losses
from scheduler.planner.objective import Budget
from scheduler.planner.pack import Pack, switchable
from scheduler.planner.settings import Objective, PlannerSettings
from tests.property.clusters import cluster, plain
from tests.property.losses import TooManyWaysError, borne
from tests.property.test_plans import LAWFUL, laws

SETTINGS = PlannerSettings(objective=Objective.PACK)


@st.composite
def small(draw: st.DrawFn) -> Snapshot:
    """Up to eight hosts, loosely filled, so that some can be emptied."""
    hosts = draw(st.integers(2, 8))
    vms = draw(st.integers(0, 3 * hosts))
    made = cluster(
        hosts, vms, draw(st.sampled_from(LAWFUL)), draw(st.integers(0, 1_000_000)), ruled=draw(st.booleans())
    )
    return plain(made)


def packed(snapshot: Snapshot) -> tuple[Snapshot, set[str]]:
    """The cluster after all that the search moved, and the hosts that stay on."""
    load = Load(View(snapshot), SETTINGS)
    movable = np.array([vm.movable and vm.active for vm in snapshot.vms], dtype=bool)
    moves = Pack(load, SETTINGS).search(load, movable, Budget(None, lambda: False))
    went = {move.vm: snapshot.hosts[move.destination].name for move in moves}
    vms = tuple(replace(vm, host=went.get(index, vm.host)) for index, vm in enumerate(snapshot.vms))
    return replace(snapshot, vms=vms), {host.name for host in snapshot.hosts} - set(switchable(load))


@laws
@given(small())
def test_a_loss_that_could_be_borne_can_be_borne_without_what_is_switched_off(snapshot: Snapshot) -> None:
    after, on = packed(snapshot)
    everywhere = {host.name for host in snapshot.hosts}
    assert {vm.host for vm in after.vms if vm.active} <= on
    try:
        for host in everywhere:
            assert borne(after, host, on) or not borne(snapshot, host, everywhere)
    except TooManyWaysError:
        assume(False)


@laws
@given(small())
def test_what_is_said_to_be_borne_is(snapshot: Snapshot) -> None:
    view = View(snapshot)
    losses, on = Losses(view), np.ones(len(view.hosts), dtype=bool)
    for host, facts in enumerate(snapshot.hosts):
        if losses.homeless(view, host, on) == 0:
            assert borne(snapshot, facts.name, {one.name for one in snapshot.hosts})
