"""Filters answer twice, as a mask and in words: both from the same facts."""

import numpy as np
from hypothesis import given, settings

from scheduler.cluster.model import Snapshot
from scheduler.filters import registry
from scheduler.filters.view import View
from tests.property.clusters import snapshots


@settings(max_examples=60, deadline=None)
@given(snapshots())
def test_a_host_has_reasons_exactly_where_the_mask_refuses(snapshot: Snapshot) -> None:
    view = View(snapshot)
    for vm in range(len(view.vms)):
        need = view.need(vm)
        allowed = registry.allowed(view, need)
        for host in range(len(view.hosts)):
            reasons = registry.reasons(view, need, host)
            assert bool(allowed[host]) == (not reasons)
            assert all(reason.text and reason.code for reason in reasons)


@settings(max_examples=60, deadline=None)
@given(snapshots())
def test_rows_for_many_vms_say_what_masks_say_for_each(snapshot: Snapshot) -> None:
    view = View(snapshot)
    vms = np.arange(len(view.vms))
    rows = registry.static_rows(view, vms) & registry.dynamic_rows(view, vms)
    for vm in vms:
        need = view.need(int(vm))
        elsewhere = np.arange(len(view.hosts)) != need.host
        assert (rows[vm] & elsewhere).tolist() == (registry.allowed(view, need) & elsewhere).tolist()
        assert registry.elsewhere(view, need).tolist() == (registry.allowed(view, need) & elsewhere).tolist()


@settings(max_examples=60, deadline=None)
@given(snapshots())
def test_each_dynamic_filter_says_the_same_for_one_and_for_many(snapshot: Snapshot) -> None:
    view = View(snapshot)
    vms = np.arange(len(view.vms))
    for rule in registry.DYNAMIC:
        expected = [rule.mask(view, view.need(int(vm))).tolist() for vm in vms]
        assert rule.rows(view, vms).tolist() == expected
