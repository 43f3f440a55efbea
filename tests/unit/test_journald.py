"""Entries of systemd's journal, as they arrive at a socket."""

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.journald import JournalHandler, encode, field_name


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "socket"))
        receiver.settimeout(5)
        yield receiver


@pytest.fixture
def handler(journal: socket.socket) -> Iterator[JournalHandler]:
    handler = JournalHandler(Path(journal.getsockname()))
    yield handler
    handler.close()


def test_a_record_is_one_entry(journal: socket.socket, handler: JournalHandler) -> None:
    handler.emit(logging.LogRecord("scheduler.daemon", logging.WARNING, __file__, 1, "host %s lost", ("node1",), None))
    assert journal.recv(4096).decode().splitlines() == [
        "MESSAGE=host node1 lost",
        "PRIORITY=4",
        "LOGGER=scheduler.daemon",
        "SYSLOG_IDENTIFIER=virt-scheduler",
    ]


def test_a_large_entry_comes_as_a_sealed_file(journal: socket.socket, handler: JournalHandler) -> None:
    text = "x" * 1_000_000
    handler.emit(logging.LogRecord("scheduler", logging.INFO, __file__, 1, text, (), None))
    message, descriptors, _, _ = socket.recv_fds(journal, 4096, 1)
    assert message == b""
    with os.fdopen(descriptors[0], "rb") as file:
        file.seek(0)
        assert file.read().startswith(b"MESSAGE=" + text.encode() + b"\nPRIORITY=6\n")
        with pytest.raises(OSError, match="not permitted"):
            os.write(file.fileno(), b"more")


def test_a_journal_that_is_away_costs_nothing_but_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = JournalHandler(tmp_path / "nobody")
    handler.handle(logging.LogRecord("scheduler", logging.INFO, __file__, 1, "unheard", (), None))
    handler.close()
    assert "No such file" in capsys.readouterr().err


def test_a_value_of_several_lines_is_told_by_its_length() -> None:
    assert encode({"A": "one\ntwo", "B": 2}) == b"A\n\x07\0\0\0\0\0\0\0one\ntwo\nB=2\n"


def test_names_of_fields_are_those_the_journal_takes() -> None:
    assert field_name("downtime_ms") == "VIRT_SCHEDULER_DOWNTIME_MS"
    assert field_name("peer.name") == "VIRT_SCHEDULER_PEER_NAME"
    assert len(field_name("long" * 30)) == 64
