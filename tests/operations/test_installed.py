"""What an installation must have that a checkout may lack."""

from scheduler.planner import annealing


def test_the_kernel_of_the_search_is_compiled() -> None:
    assert annealing.COMPILED
