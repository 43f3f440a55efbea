"""The daemon's small rooms: notifications, notices, whereabouts, waiting."""

import asyncio
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.cluster.model import VmState
from scheduler.cluster.observation import DomainFacts, DomainObservation, HostFacts, HostObservation
from scheduler.daemon.herald import Herald
from scheduler.daemon.notices import BEHIND, Notices
from scheduler.daemon.notify import Notifier
from scheduler.daemon.waiting import happens
from scheduler.daemon.whereabouts import Moved, Whereabouts
from scheduler.operations.records import MigrationState, Progress
from scheduler.simulation.clock import ManualClock
from scheduler.web.control import Notice
from scheduler.web.metrics import Metrics
from tests.unit.web.memory import MemoryControl, migration_record


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_speaks_to_a_socket(tmp_path: Path, abstract: bool):
    address = f"@virt-scheduler-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as systemd:
        systemd.bind(address.replace("@", "\0") if abstract else address)
        notifier = Notifier({"NOTIFY_SOCKET": address})
        notifier.ready("all\nis well")
        notifier.status("moving web1")
        notifier.alive()
        notifier.stopping()
        heard = [systemd.recv(4096).decode() for _ in range(4)]
    assert heard == ["READY=1\nSTATUS=all is well", "STATUS=moving web1", "WATCHDOG=1", "STOPPING=1"]


def test_reloading_is_one_datagram_with_the_monotonic_time(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).reloading()
        first, second = systemd.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    assert second.removeprefix("MONOTONIC_USEC=").isdigit()


def test_notify_is_silent_without_systemd(tmp_path: Path):
    Notifier({}).ready("ready")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).alive()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_time(environment: dict[str, str], seconds: float | None):
    assert Notifier(environment).watchdog_seconds == seconds


async def heard(notices: Notices, after: int | None, count: int) -> list[int]:
    stream = notices.listen(after)
    found = [(await asyncio.wait_for(anext(stream), 1)).id for _ in range(count)]
    await stream.aclose()  # type: ignore[attr-defined]
    return found


async def test_a_listener_gets_what_it_missed():
    notices = Notices(lambda: 0.0)
    for number in range(5):
        notices.publish("host", f"news {number}", number=number)
    assert await heard(notices, 3, 2) == [4, 5]
    assert await heard(notices, 0, 5) == [1, 2, 3, 4, 5]


async def test_an_id_of_the_process_before_gets_all_of_this_one():
    notices = Notices(lambda: 0.0)
    notices.publish("host", "news")
    assert await heard(notices, 700, 1) == [1]


async def test_a_slow_listener_is_dropped_and_holds_up_nobody():
    notices, got = Notices(lambda: 0.0), list[Notice]()
    slow, quick = notices.listen(None), notices.listen(None)
    first_slow, first_quick = asyncio.ensure_future(anext(slow)), asyncio.ensure_future(anext(quick))
    await asyncio.sleep(0)
    for number in range(BEHIND + 10):
        notices.publish("host", str(number))
        if number == 0:
            got += [await first_quick, await first_slow]
        else:
            got.append(await anext(quick))
    assert len(got) == BEHIND + 11
    assert len([notice async for notice in slow]) == BEHIND
    notices.close()
    assert [notice async for notice in quick] == []


def look(host: str, at_s: float, *running: str, incoming: str = "") -> HostObservation:
    def domain(uuid: str) -> DomainObservation:
        facts = DomainFacts(vcpus=1, memory_mib=1)
        state = VmState.RUNNING
        return DomainObservation(
            uuid=uuid, name=uuid, state=state, persistent=True, facts=facts, incoming=uuid == incoming
        )

    facts = HostFacts(cpus=1, memory_mib=1)
    return HostObservation(host=host, monotonic_s=at_s, facts=facts, domains=tuple(map(domain, running)))


def test_a_vm_has_moved_once_its_old_host_does_not_show_it():
    seen = Whereabouts()
    assert seen.note(look("a", 0, "vm")) == ([], set())
    assert seen.note(look("b", 1, "vm", incoming="vm")) == ([], set())
    assert seen.note(look("b", 2, "vm")) == ([], {"a"})
    assert seen.note(look("a", 3)) == ([Moved("vm", "vm", "a", "b")], set())
    assert seen.note(look("b", 4, "vm")) == ([], set())


def test_a_vm_that_runs_twice_has_not_moved_and_its_hosts_are_not_looked_at_for_ever():
    seen = Whereabouts()
    seen.note(look("a", 0, "vm"))
    assert seen.note(look("b", 1, "vm")) == ([], {"a"})
    for at_s in range(2, 10, 2):
        assert seen.note(look("a", at_s, "vm")) == ([], set())
        assert seen.note(look("b", at_s + 1, "vm")) == ([], set())


def test_a_vm_may_be_changing_hands_until_both_hosts_have_shown_it_again_long_after():
    seen = Whereabouts()
    seen.note(look("a", 0, "vm"))
    assert seen.changing_hands() == set()
    for host, at_s in (("b", 1), ("a", 2), ("b", 2), ("a", 20)):
        seen.note(look(host, at_s, "vm"))
        assert seen.changing_hands() == {"vm"}
    seen.note(look("b", 20, "vm"))
    assert seen.changing_hands() == set()


def test_a_vm_that_has_changed_hands_does_so_no_more():
    seen = Whereabouts()
    seen.note(look("a", 0, "vm"))
    seen.note(look("b", 1, "vm"))
    seen.note(look("a", 2))
    assert seen.changing_hands() == set()


def test_a_vm_of_a_lost_host_that_runs_elsewhere_has_moved():
    seen = Whereabouts()
    seen.note(look("a", 0, "vm"))
    seen.lost("a")
    assert seen.note(look("b", 1, "vm")) == ([Moved("vm", "vm", "a", "b")], set())


def test_a_forgotten_vm_is_new_again():
    seen = Whereabouts()
    seen.note(look("a", 0, "vm"))
    seen.note(look("a", 1))
    seen.forget_all_but(set())
    assert seen.note(look("b", 2, "vm")) == ([], set())


async def test_happens_tells_an_event_from_the_end_of_the_time():
    clock, event = ManualClock(), asyncio.Event()
    assert await clock.run(happens(event, 5, clock)) is False
    assert clock.monotonic() == 5
    waiting = asyncio.create_task(happens(event, 5, clock))
    await clock.settle()
    event.set()
    assert await waiting is True
    assert clock.monotonic() == 5


def test_progress_is_told_at_each_tenth_and_each_doubling_of_iterations():
    control, notices = MemoryControl(), Notices(lambda: 100.0)
    herald = Herald(Metrics(control.snapshot, control.hosts), notices)
    record = migration_record(state=MigrationState.MIGRATING, ended_at=None)
    herald.migration(record)
    for ratio, iteration in ((0.01, 1), (0.05, 1), (0.12, 1), (0.19, 2), (0.19, 3), (0.19, 4)):
        progress = Progress(remaining_bytes=90 * 1024**2, iteration=iteration, dirty_bytes_per_second=5 * 1024**2)
        herald.migration(replace(record, progress_ratio=ratio, progress=progress))
    herald.migration(replace(record, state=MigrationState.COMPLETED, ended_at=110.0))
    told = [notice.text for notice in notices._memory if notice.kind == "progress"]
    assert told == [
        f"web1 node1 -> node2: {across} is across, 90 MiB remain, iteration {iteration}, 5 MiB/s are written again"
        for across, iteration in (("1%", 1), ("12%", 1), ("19%", 2), ("19%", 4))
    ]
