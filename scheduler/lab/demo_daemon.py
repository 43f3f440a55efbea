"""A daemon of the demonstration's own: started on a lab, spoken to with the command, gone with the demonstration."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

from .errors import LabError

if TYPE_CHECKING:
    from types import TracebackType

    from .lab import Lab

_COMMAND = (sys.executable, "-m", "scheduler")
_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_COMMAND_SECONDS = 120.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of the host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class DemoDaemon:
    """The daemon on a lab's config, ready inside the block. Its log is DIR/daemon.log."""

    def __init__(self, lab: Lab) -> None:
        self._config = lab.config_file
        self._log = lab.directory / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # The kernel ends the daemon when the demonstration is killed.
        command = ("setpriv", "--pdeathsig", "TERM", *_COMMAND, "--config", str(self._config), "run")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while self.command("status")[1] != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise LabError(f"the daemon did not start: {self._last_words()}")
            time.sleep(0.2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def command(self, *arguments: str) -> tuple[Any, int]:
        """Run `virt-scheduler ARGUMENTS --json`; what it printed, read, and its exit code."""
        done = subprocess.run(
            (*_COMMAND, "--config", str(self._config), *arguments, "--json"),
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        try:
            return json.loads(done.stdout), done.returncode
        except ValueError:
            return done.stderr.strip() or done.stdout.strip(), done.returncode or 1

    def get(self, path: str) -> Any:
        """What the API answers: far cheaper than a command, for what is asked again and again."""
        connection = _UnixConnection(tomllib.loads(self._config.read_text())["api"]["socket"])
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status != HTTPStatus.OK:
                raise LabError(f"{path}: {answer.status} {answer.reason}")
            return json.load(answer)

    def metrics(self) -> str:
        """What Prometheus would scrape."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    @property
    def metrics_address(self) -> str:
        """Where Prometheus finds it, ADDRESS:PORT."""
        listen: str = tomllib.loads(self._config.read_text())["metrics"]["listen"]
        return listen

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace").strip()[-500:] or "it said nothing"
