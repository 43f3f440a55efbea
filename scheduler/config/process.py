"""What the process tells of itself: its history, its metrics, its log."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from ..operations.settings import Retention
from .quantities import Count, Duration, SizeMib
from .section import Listen, Section, address_of

_RETENTION = Retention()


class HistorySection(Section):
    """How much of what happened is remembered, in the journal."""

    keep_seconds: Annotated[Duration, Field(gt=0)] = _RETENTION.keep_seconds
    """Records of what has ended that are older go."""
    max_size_mib: Annotated[SizeMib, Field(ge=1)] = _RETENTION.max_size_mib
    """Of all records together; the oldest go first."""
    snapshots: Count = _RETENTION.snapshots
    """How many snapshots of cycles that acted are kept; the oldest go first."""
    snapshots_max_size_mib: Annotated[SizeMib, Field(ge=1)] = _RETENTION.snapshots_max_size_mib
    """Of all of them together, compressed."""
    keep_load_seconds: Duration = 2_592_000.0
    """So long is kept, minute by minute, what VMs wanted, for `simulate --history`; 0 records nothing."""


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
    """Text on a terminal, fields in systemd's journal, JSON elsewhere."""
    JSON = "json"
    TEXT = "text"


class LogSection(Section):
    """The daemon's log, on standard error."""

    level: LogLevel = LogLevel.INFO
    """`debug`, `info`, `warning` or `error`."""
    format: LogFormat = LogFormat.AUTO
    """`auto`: text on a terminal, fields in systemd's journal, JSON elsewhere; `json`; `text`."""
