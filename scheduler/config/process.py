"""What the process offers: its API, its metrics, its log."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from .section import AbsolutePath, Section, shown


def _listen(value: str) -> str:
    host, colon, port = value.rpartition(":")
    is_port = port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536
    if value and not (colon and host and is_port and value.isprintable()):
        raise ValueError(f'{shown(value)} is no address: write 127.0.0.1:9177, or "" for no listener')
    return value


class ApiSection(Section):
    """The HTTP API that the commands use."""

    socket: AbsolutePath = Path("/run/virt-scheduler/api.sock")
    """Its unix socket."""


class MetricsSection(Section):
    """The listener that Prometheus scrapes."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:9177"
    """ADDRESS:PORT, or empty for none."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to listen on; None: no listener."""
        host, _, port = self.listen.rpartition(":")
        return (host.strip("[]"), int(port)) if self.listen else None


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line looks."""

    AUTO = "auto"
    """Text on a terminal, JSON elsewhere."""
    JSON = "json"
    TEXT = "text"


class LogSection(Section):
    """The daemon's log, on standard error."""

    level: LogLevel = LogLevel.INFO
    """`debug`, `info`, `warning` or `error`."""
    format: LogFormat = LogFormat.AUTO
    """`auto`: text on a terminal, JSON elsewhere; `json`; `text`."""
