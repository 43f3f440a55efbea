"""systemd's notification protocol: one datagram to `$NOTIFY_SOCKET` (see sd_notify(3)). Silent outside systemd."""

import os
import socket
import time


class Notifier:
    """Tells systemd how the daemon is. Without `$NOTIFY_SOCKET` every call does nothing."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        variables = dict(os.environ) if environment is None else environment
        address = variables.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL byte of the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog_usec = variables.get("WATCHDOG_USEC", "")
        ours = variables.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_seconds = int(watchdog_usec) / 1e6 if ours and watchdog_usec.isdigit() else None
        """After how long without a sign of life systemd kills the daemon; None: it does not watch."""

    def ready(self, status: str) -> None:
        """Start-up, or a reload, is done."""
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def reloading(self) -> None:
        """A reload begins. One datagram with the monotonic time: both are needed by Type=notify-reload."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The daemon is on its way out."""
        self._send("STOPPING=1")

    def status(self, sentence: str) -> None:
        """The line that `systemctl status` shows."""
        self._send(f"STATUS={_one_line(sentence)}")

    def alive(self) -> None:
        """Pet the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as channel:
            try:
                channel.sendto(message.encode(), self._address)
            except OSError:
                # systemd being away or behind must never stop the daemon; its watchdog will say if it matters.
                return


def _one_line(text: str) -> str:
    return " ".join(text.split())
