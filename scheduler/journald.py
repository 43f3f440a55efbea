"""systemd's journal, spoken to in its own protocol, so that what a line is about is a field one can search by.

One datagram an entry (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/). `MESSAGE` is for people; each thing a line carries
is a field `VIRT_SCHEDULER_<NAME>`, such as `VIRT_SCHEDULER_VM=web1`.
"""

import errno
import fcntl
import logging
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")

_MAX_FIELD_CHARS = 64
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


class JournalHandler(logging.Handler):
    """Sends records to the journal; what the formatter makes of one is its message.

    The formatter finds an empty `record.journal_fields`, and leaves in it what the record carries.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = str(path)
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record. A journal that is away costs its lines, never the daemon."""
        carried: dict[str, object] = {}
        record.journal_fields = carried
        try:
            entry = {"MESSAGE": self.format(record), "PRIORITY": priority(record.levelno), "LOGGER": record.name}
            entry |= {field_name(name): value for name, value in carried.items()}
            self._send(encode(entry | {"SYSLOG_IDENTIFIER": "virt-scheduler"}))
        except Exception:  # noqa: BLE001 - the logging module's own way: it tells on stderr and goes on
            self.handleError(record)

    def close(self) -> None:
        """Let go of the socket."""
        self._channel.close()
        super().close()

    def _send(self, entry: bytes) -> None:
        try:
            self._channel.sendto(entry, self._path)
        except OSError as error:
            if error.errno not in {errno.EMSGSIZE, errno.ENOBUFS}:
                raise
            self._send_as_file(entry)

    def _send_as_file(self, entry: bytes) -> None:
        """What is too large for a datagram goes as a file in memory, which the journal wants sealed."""
        descriptor = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(descriptor, "wb") as file:
            file.write(entry)
            file.flush()
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))
            self._channel.sendmsg([], [rights], 0, self._path)


def priority(level: int) -> int:
    """Syslog's number of a logging level."""
    return next((number for least, number in _PRIORITIES if level >= least), 7)


def field_name(name: str) -> str:
    """The journal's name for what a log line calls `name`: capitals, digits and underscores only."""
    return ("VIRT_SCHEDULER_" + re.sub("[^A-Z0-9]", "_", name.upper()))[:_MAX_FIELD_CHARS]


def encode(fields: Mapping[str, object]) -> bytes:
    """An entry. A value of several lines is told by its length (64 bits, little-endian)."""
    entry = bytearray()
    for name, value in fields.items():
        text = str(value).encode(errors="backslashreplace")
        if b"\n" in text:
            entry += b"%b\n%b%b\n" % (name.encode(), len(text).to_bytes(8, "little"), text)
        else:
            entry += b"%b=%b\n" % (name.encode(), text)
    return bytes(entry)
