"""What the process tells of itself: its metrics, its log."""

from enum import StrEnum

from .section import Listen, Section, address_of


class MetricsSection(Section):
    """The listener that Prometheus scrapes."""

    listen: Listen = "127.0.0.1:9177"
    """ADDRESS:PORT, or empty for none."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to listen on; None: no listener."""
        return address_of(self.listen)


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
