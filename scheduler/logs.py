"""How log lines look and where they go: text for a terminal, fields for systemd's journal, JSON for all else.

Everything is logged with `structlog.get_logger()`; what libraries log with the standard library takes the same way.
What is bound with `structlog.contextvars` (the cycle's id) stands on every line.
"""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from .journald import SOCKET, JournalHandler, priority

_TOLD_OTHERWISE = frozenset(
    {"event", "exception", "level", "logger", "timestamp", "journal_fields", "_from_structlog"}
)  # fmt: skip
"""What the journal has fields of its own for, and what is not for readers."""
_FIGURES = structlog.processors.KeyValueRenderer()


def configure(
    level: str = "info", log_format: str = "auto", stream: TextIO | None = None, journal: Path = SOCKET
) -> None:
    """Set up logging for the process; may be called again to change it.

    `log_format` `auto` means text when `stream` (default: stderr) is a terminal, entries with fields when it is
    systemd's journal, else JSON. Lines of a format that was asked for go to `stream`, and to the journal with its `<N>`
    priority before them.
    """
    handler, rendering = _destination(stream or sys.stderr, log_format, journal)
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.ExtraAdder()],
            processors=rendering,
        )
    )
    logging.captureWarnings(capture=True)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *common,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _destination(out: TextIO, log_format: str, socket: Path) -> tuple[logging.Handler, list[Processor]]:
    """Where lines go, and what makes them from an event."""
    journal = goes_to_journal(out, os.environ)
    if log_format == "auto" and journal:
        return JournalHandler(socket), [structlog.processors.format_exc_info, _as_entry]
    if log_format == "text" or (log_format == "auto" and out.isatty()):
        rendering: list[Processor] = [structlog.dev.ConsoleRenderer(colors=out.isatty())]
    else:
        rendering = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(ensure_ascii=False)]
    if journal:
        rendering.append(_PrefixPriority(rendering.pop()))
    return logging.StreamHandler(out), [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering]


def _as_entry(logger: WrappedLogger, name: str, event: EventDict) -> str:
    """The message of a journal entry; what else the line carries is left in the record's `journal_fields`."""
    record = event.pop("_record")
    fields = {key: value for key, value in event.items() if key not in _TOLD_OTHERWISE}
    record.journal_fields.update(fields)
    figures = _FIGURES(logger, name, {key: value for key, value in fields.items() if key != "cycle"})
    return "\n".join(filter(None, (f"{event['event']} {figures}".rstrip(), event.get("exception"))))


def goes_to_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether systemd connected `stream` to the journal: it names the stream's device and inode in JOURNAL_STREAM."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


class _PrefixPriority:
    """Puts the journal's `<N>` before what another renderer makes."""

    def __init__(self, renderer: Processor) -> None:
        self._renderer = renderer

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        number = priority(logging.getLevelNamesMapping().get(str(event.get("level")).upper(), logging.NOTSET))
        return f"<{number}>{self._renderer(logger, name, event)!s}"
