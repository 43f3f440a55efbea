"""A picture brought up to date look by look shows what one made at once of the latest looks shows."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from scheduler.cluster.assemble import HostInput, Picture, Windows, assemble
from scheduler.cluster.demand import DemandBook
from scheduler.cluster.model import VmState
from scheduler.cluster.observation import DomainFacts, DomainObservation, HostFacts, HostObservation
from scheduler.cluster.rules import Rules

NOW = datetime(2026, 11, 23, tzinfo=UTC)
WINDOWS = Windows(now_s=100.0)
FACTS = HostFacts(cpus=4, memory_mib=4096)
HOSTS = ("a", "b", "c")

_domain = st.builds(
    DomainObservation,
    uuid=st.sampled_from(("u1", "u2", "u3", "u4")),
    name=st.just("vm"),
    state=st.sampled_from(VmState),
    persistent=st.booleans(),
    facts=st.just(DomainFacts(vcpus=1, memory_mib=128)),
    incoming=st.booleans(),
)
_shown = st.lists(_domain, max_size=4, unique_by=lambda domain: domain.uuid)


@st.composite
def _inputs(draw: st.DrawFn) -> HostInput:
    """A look at one host, or the news that it cannot be seen."""
    name, at_s = draw(st.sampled_from(HOSTS)), draw(st.sampled_from((50.0, 80.0, 90.0, 100.0)))
    look = HostObservation(host=name, monotonic_s=at_s, facts=FACTS, domains=tuple(draw(_shown)))
    return HostInput(name=name, reachable=draw(st.booleans()), observation=draw(st.sampled_from((look, look, None))))


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(_inputs(), st.sampled_from(HOSTS)), max_size=12),
    st.sets(st.sampled_from(("u1", "u2", "gone"))),
)
def test_a_picture_shows_what_one_made_at_once_shows(course: list[HostInput | str], changing_hands: set[str]) -> None:
    """A name in `course` is a host that is no host any more."""
    picture, known = Picture(DemandBook(), lambda _: {}), dict[str, HostInput]()
    for one in course:
        if isinstance(one, HostInput):
            picture.take_in(one, WINDOWS)
            known[one.name] = one
        elif one in known:
            picture.forget(one, WINDOWS)
            del known[one]
        # Also in between: what a snapshot puts in order must stay so.
        shown = picture.snapshot(NOW, WINDOWS, Rules(), changing_hands)
        made_at_once = assemble(NOW, list(known.values()), DemandBook(), WINDOWS, Rules(), lambda _: {}, changing_hands)
        assert shown == made_at_once
