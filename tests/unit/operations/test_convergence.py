"""Whether a migration makes progress, and what is done when it does not. Remaining memory in MiB."""

from collections.abc import Iterable

import pytest

from scheduler.cluster.ports import Job
from scheduler.operations.convergence import Action, Convergence, Step, steps
from scheduler.operations.settings import MigrationSettings

MIB = 1 << 20
WIDE = Step(Action.WIDEN_DOWNTIME, downtime_ms=600)
END = Step(Action.ABORT, 3)


def taken(passes: Iterable[Iterable[int]], *to_take: Step, seconds_per_look: float = 2.0) -> list[tuple[int, Step]]:
    """Which steps are taken, each with the number of the pass; a pass is what remains at each look."""
    convergence, now_s, found = Convergence(to_take), 0.0, []
    for number, looks in enumerate(passes, start=1):
        for remaining_mib in looks:
            now_s += seconds_per_look
            job = Job(elapsed_ms=int(now_s * 1000), remaining_bytes=remaining_mib * MIB, iteration=number)
            if step := convergence.note(job, now_s):
                found.append((number, step))
    return found


def test_a_saw_tooth_that_falls_is_progress():
    passes = [[1000, 500, 100], [400, 200, 60], [300, 150, 40], [220, 100, 30], [200, 90, 20], [190, 70, 10]]
    assert taken(passes, WIDE) == []


def test_the_same_low_at_every_pass_is_a_stall_and_the_steps_follow_in_order():
    passes = [[1000, 500, 100]] + [[500, 250, 98]] * 9
    assert taken(passes, WIDE, END) == [(5, WIDE), (8, END)]


def test_passes_that_are_too_short_to_be_seen_count_too_but_need_their_time():
    convergence = Convergence((WIDE,))
    seen = [
        convergence.note(Job(elapsed_ms=0, remaining_bytes=100 * MIB, iteration=1 + 4 * look), look * 0.5)
        for look in range(40)
    ]
    assert seen.index(WIDE) == 21  # 10 s after the best pass ended


def test_what_stands_still_within_one_pass_is_no_stall():
    assert taken([[1000, *[400] * 100]], WIDE) == []


def test_progress_starts_the_count_anew():
    passes = [[100]] + [[100]] * 2 + [[90]] + [[90]] * 2 + [[80]] + [[80]] * 2
    assert taken(passes, WIDE, seconds_per_look=60.0) == []


def test_nothing_is_done_in_post_copy_or_where_the_hypervisor_tells_no_passes():
    convergence = Convergence((WIDE,))
    for number in range(10):
        in_post_copy = Job(elapsed_ms=0, remaining_bytes=MIB, iteration=number, post_copy=True)
        assert convergence.note(in_post_copy, number * 60.0) is None
        assert convergence.note(Job(elapsed_ms=0), number * 60.0) is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["abort"]),
        ({"abort_stalled": False}, []),
        ({"downtime_limit_ms": 1000}, ["600", "1000", "abort"]),
        ({"downtime_limit_ms": 400, "post_copy": True}, ["400", "post_copy"]),
        ({"max_downtime_ms": 0, "downtime_limit_ms": 3}, ["2", "3", "abort"]),
    ],
)
def test_the_steps_are_what_the_settings_allow(settings, expected):
    found = steps(MigrationSettings(**settings))
    assert [str(step.downtime_ms or step.action) for step in found] == expected


def test_throttling_is_given_its_time():
    [step] = steps(MigrationSettings(auto_converge=True))
    assert step.passes == 20
