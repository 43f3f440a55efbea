"""Daemons on the session's lab, ended before the lab is put in order again."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from scheduler.lab import cgroup
from scheduler.lab.lab import Lab
from tests.lab.running_daemon import RunningDaemon

StartDaemon = Callable[..., RunningDaemon]


@pytest.fixture
def lab_folder() -> Iterator[Path]:
    """A folder for labs of the test's own, with a path short enough for their sockets'; `tmp_path` may be too long."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        yield Path(folder)


@pytest.fixture
def quick_lab(clean_lab: Lab) -> Lab:
    """The session's lab with hosts that may use the whole machine until it is reset: guests boot twice as fast."""
    for host in clean_lab.hosts:
        cgroup.set_quota(clean_lab.id, host, len(os.sched_getaffinity(0)))
    return clean_lab


@pytest.fixture
def start_daemon(clean_lab: Lab) -> Iterator[StartDaemon]:
    """Starts daemons on the lab: the arguments are those of RunningDaemon."""
    with ExitStack() as running:

        def begin(*arguments: str, **options: str) -> RunningDaemon:
            return running.enter_context(closing(RunningDaemon(clean_lab, *arguments, **options)))

        yield begin
