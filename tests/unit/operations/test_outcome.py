"""What each pair of sights means."""

import pytest

from scheduler.cluster.model import VmState
from scheduler.cluster.observation import DomainFacts, DomainObservation
from scheduler.operations.outcome import Sight, outcome, sight
from scheduler.operations.records import MigrationState

R, P, G, U = Sight.RUNNING, Sight.PAUSED, Sight.GONE, Sight.UNSEEN


@pytest.mark.parametrize(
    ("source", "destination", "state", "may_change"),
    [
        pytest.param(R, G, MigrationState.FAILED, False, id="never left"),
        pytest.param(R, P, MigrationState.FAILED, True, id="still copying, or a copy left over"),
        pytest.param(P, P, MigrationState.UNKNOWN, True, id="switching over"),
        pytest.param(P, R, MigrationState.UNKNOWN, True, id="arrived, the source is being cleaned up"),
        pytest.param(G, R, MigrationState.COMPLETED, False, id="arrived"),
        pytest.param(P, G, MigrationState.FAILED, True, id="paused where it was"),
        pytest.param(G, P, MigrationState.COMPLETED, True, id="arrived paused"),
        pytest.param(R, R, MigrationState.UNKNOWN, True, id="runs twice"),
        pytest.param(G, G, MigrationState.FAILED, True, id="was stopped"),
        pytest.param(R, U, MigrationState.FAILED, False, id="never left for a host that is no more"),
        pytest.param(P, U, MigrationState.UNKNOWN, True, id="switching over to a host that is no more"),
        pytest.param(G, U, MigrationState.UNKNOWN, False, id="left for a host that is no more"),
        pytest.param(U, R, MigrationState.UNKNOWN, False, id="arrived from a host that is no more"),
        pytest.param(U, P, MigrationState.UNKNOWN, True, id="arriving from a host that is no more"),
        pytest.param(U, G, MigrationState.UNKNOWN, False, id="did not arrive from a host that is no more"),
        pytest.param(U, U, MigrationState.UNKNOWN, False, id="between hosts that are no more"),
    ],
)
def test_each_pair_has_its_outcome(source, destination, state, may_change):
    found = outcome(source, destination)
    assert (found.state, found.may_change) == (state, may_change)


def test_only_the_plain_ends_need_no_words():
    silent = {(s, d) for s in Sight for d in Sight if not outcome(s, d).text}
    assert silent == {(R, G), (G, R)}


@pytest.mark.parametrize(
    ("state", "incoming", "expected"),
    [
        (VmState.RUNNING, False, R),
        (VmState.PAUSED, False, P),
        (VmState.STOPPED, False, G),
        (VmState.RUNNING, True, P),
    ],
)
def test_sights(state, incoming, expected):
    facts = DomainFacts(vcpus=1, memory_mib=1)
    domain = DomainObservation(uuid="u", name="n", state=state, persistent=True, facts=facts, incoming=incoming)
    assert sight(domain) is expected


def test_no_domain_is_gone():
    assert sight(None) is G
