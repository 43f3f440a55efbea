"""Tests on the lab are left out where it cannot run, in one line; where everything is required that is a failure."""

import os
from collections.abc import Iterator

import pytest

from scheduler.lab.lab import HOME, Lab
from scheduler.lab.owner import Owner
from scheduler.lab.packages import why_not
from scheduler.lab.spec import default_spec

REQUIRED = os.environ.get("VIRT_SCHEDULER_REQUIRE_LAB") == "1"
_LEFT_OUT = pytest.StashKey[str]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reason = None if REQUIRED else why_not()
    on_lab = [item for item in items if item.get_closest_marker("lab")]
    if reason and on_lab:
        config.hook.pytest_deselected(items=on_lab)
        items[:] = [item for item in items if item not in on_lab]
        config.stash[_LEFT_OUT] = f"left out: {len(on_lab)} tests on the lab ({reason})"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if line := terminalreporter.config.stash.get(_LEFT_OUT, None):
        terminalreporter.write_line(line, yellow=True)
    if REQUIRED and (skipped := terminalreporter.stats.get("skipped")):
        terminalreporter.write_line(f"left out although everything is required: {len(skipped)} tests", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if _LEFT_OUT in session.config.stash and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
    if REQUIRED and reporter is not None and reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three real hosts, up for the whole session and gone after it; leave them as found, or use `clean_lab`."""
    owner = Owner.this_process()
    with Lab.create(HOME / f"test-{owner.pid}", default_spec(3), owner=owner) as running:
        yield running


@pytest.fixture
def clean_lab(lab: Lab) -> Iterator[Lab]:
    """The session's lab; after the test every guest is removed and every fault undone."""
    yield lab
    lab.reset()
