"""Contention counts from when it began, and one calm look ends it."""

from scheduler.cluster.hold import ContentionClock


def test_it_counts_while_contention_lasts():
    clock = ContentionClock()
    clock.update(0, {"a"}, {"a", "b"})
    clock.update(130, {"a"}, {"a", "b"})
    assert clock.seconds("a", 130) == 130
    assert clock.seconds("b", 130) == 0


def test_a_calm_look_ends_it():
    clock = ContentionClock()
    clock.update(0, {"a"}, {"a"})
    clock.update(60, set(), {"a"})
    clock.update(70, {"a"}, {"a"})
    assert clock.seconds("a", 100) == 30


def test_a_host_that_was_not_looked_at_is_not_judged():
    clock = ContentionClock()
    clock.update(0, {"a"}, {"a"})
    clock.update(60, set(), {"b"})
    assert clock.seconds("a", 60) == 60


def test_restart_asks_for_new_evidence():
    clock = ContentionClock()
    clock.update(0, {"a"}, {"a"})
    clock.restart("a", 50)
    clock.restart("b", 50)
    assert clock.seconds("a", 60) == 10
    assert clock.seconds("b", 60) == 0
