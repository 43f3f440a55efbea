"""Log lines: JSON with the cycle's id, the journal's priority, text on a terminal, libraries included."""

import io
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from scheduler import logs


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_lines_carry_the_cycle_and_the_fields() -> None:
    out = io.StringIO()
    logs.configure(stream=out)
    with structlog.contextvars.bound_contextvars(cycle="c17"):
        structlog.get_logger("scheduler.daemon").info("moved", vm="web1", seconds=8.5)
    (line,) = lines(out)
    assert line.pop("timestamp")
    assert line == {
        "event": "moved", "cycle": "c17", "vm": "web1", "seconds": 8.5, "level": "info", "logger": "scheduler.daemon",
    }  # fmt: skip


def test_what_libraries_log_takes_the_same_way() -> None:
    out = io.StringIO()
    logs.configure(stream=out)
    with structlog.contextvars.bound_contextvars(cycle="c17"):
        logging.getLogger("aiohttp.server").warning("slow %s", "client", extra={"peer": "alice"})
    (line,) = lines(out)
    assert (line["event"], line["cycle"], line["level"], line["peer"]) == ("slow client", "c17", "warning", "alice")


def test_an_exception_stands_on_one_line() -> None:
    out = io.StringIO()
    logs.configure(stream=out)
    structlog.get_logger().error("cycle failed", exc_info=ValueError("no such host"))
    (line,) = lines(out)
    assert line["level"] == "error"
    assert line["exception"][0]["exc_value"] == "no such host"  # type: ignore[index]


def test_lines_below_the_level_are_not_written_and_the_level_can_be_changed() -> None:
    out = io.StringIO()
    logs.configure(level="warning", stream=out)
    structlog.get_logger().info("quiet")
    assert out.getvalue() == ""
    logs.configure(level="debug", stream=out)
    structlog.get_logger().debug("heard")
    assert [line["event"] for line in lines(out)] == ["heard"]


def test_a_terminal_gets_text() -> None:
    out = Terminal()
    logs.configure(stream=out)
    structlog.get_logger().info("moved", vm="web1")
    assert "moved" in out.getvalue()
    assert not out.getvalue().startswith("{")


def test_text_in_a_file_has_no_colours() -> None:
    out = io.StringIO()
    logs.configure(log_format="text", stream=out)
    structlog.get_logger().info("moved", vm="web1")
    assert "vm=web1" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_json_in_the_journal_has_its_priorities(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "journal").open("w+") as out:
        status = os.fstat(out.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.configure(log_format="json", stream=out)
        structlog.get_logger().error("host lost", host="node1")
        structlog.get_logger().info("host back", host="node1")
        out.seek(0)
        written = out.read().splitlines()
    assert [line[:4] for line in written] == ["<3>{", "<6>{"]
    assert json.loads(written[0][3:])["host"] == "node1"


def test_another_stream_than_the_journals_gets_none(tmp_path) -> None:
    with (tmp_path / "log").open("w") as out:
        assert not logs.goes_to_journal(out, {"JOURNAL_STREAM": "8:12345"})
        assert not logs.goes_to_journal(out, {})
    assert not logs.goes_to_journal(io.StringIO(), {"JOURNAL_STREAM": "8:12345"})


def test_the_journal_gets_entries_with_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal, (tmp_path / "stderr").open("w") as out:
        journal.bind(str(path))
        journal.settimeout(5)
        status = os.fstat(out.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.configure(stream=out, journal=path)
        with structlog.contextvars.bound_contextvars(cycle="c17"):
            structlog.get_logger("scheduler.daemon").info("moved", vm="web1", seconds=8.5)
            logging.getLogger("aiohttp").error("odd", exc_info=ValueError("no such host"), extra={"peer": "alice"})
        entry, failed = (journal.recv(4096) for _ in range(2))
    logging.getLogger().handlers[0].close()
    assert set(entry.decode().splitlines()) == {
        "MESSAGE=moved vm='web1' seconds=8.5",
        "PRIORITY=6",
        "LOGGER=scheduler.daemon",
        "VIRT_SCHEDULER_VM=web1",
        "VIRT_SCHEDULER_SECONDS=8.5",
        "VIRT_SCHEDULER_CYCLE=c17",
        "SYSLOG_IDENTIFIER=virt-scheduler",
    }
    assert b"odd peer='alice'\nValueError: no such host\n" in failed
    assert b"PRIORITY=3\n" in failed
    assert b"VIRT_SCHEDULER_CYCLE=c17\n" in failed
