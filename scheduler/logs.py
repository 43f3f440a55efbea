"""How log lines look and where they go: JSON for machines and the journal, text for a terminal, always on stderr.

Everything is logged with `structlog.get_logger()`; what libraries log with the standard library takes the same way.
What is bound with `structlog.contextvars` (the cycle's id) stands on every line.
"""

import logging
import os
import sys
from collections.abc import Mapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_JOURNAL_PRIORITY = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def configure(level: str = "info", log_format: str = "auto", stream: TextIO | None = None) -> None:
    """Set up logging for the process; may be called again to change it.

    `log_format` `auto` means text when `stream` (default: stderr) is a terminal, else JSON. Lines that go to the
    journal begin with its `<N>` priority.
    """
    out = stream or sys.stderr
    if log_format == "text" or (log_format == "auto" and out.isatty()):
        rendering: list[Processor] = [structlog.dev.ConsoleRenderer(colors=out.isatty())]
    else:
        rendering = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(ensure_ascii=False)]
    if goes_to_journal(out, os.environ):
        rendering.append(_PrefixPriority(rendering.pop()))
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
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
        priority = _JOURNAL_PRIORITY.get(str(event.get("level")), 5)
        return f"<{priority}>{self._renderer(logger, name, event)!s}"
