"""A short soak; `make soak` is the long one."""

import pytest

from scheduler.lab.lab import Lab
from tests.soak.soak import Soak

pytestmark = [pytest.mark.lab, pytest.mark.timeout(480)]

SECONDS = 120.0


def test_no_vm_comes_to_harm_while_everything_fails(quick_lab: Lab) -> None:
    soak = Soak(quick_lab, SECONDS, seed=1, say=print)
    figures = soak.run()
    assert not soak.tally.harm, soak.daemon_log
    assert figures["migrations_attempted"] >= figures["migrations_completed"] > 0
    assert figures["faults"] > 3
