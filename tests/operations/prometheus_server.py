"""A real Prometheus that scrapes one daemon, with the project's rules and alerts: started, asked, ended."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROMETHEUS = shutil.which("prometheus")
WHY_NOT = "prometheus is in the Debian package of that name"
CONFIG = Path(__file__).parents[2] / "config"
JOB = "virt-scheduler"

_READY_SECONDS = 30
_CONFIGURATION = """\
global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: {interval}}}
rule_files: [{rules}/*.yml]
scrape_configs:
  - job_name: {job}
    static_configs: [{{targets: [{target}]}}]
"""


class PrometheusServer:
    """Asks a running one over its API."""

    def __init__(self, address: str) -> None:
        self._address = address

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of now: `metric` and `value` (time and text) each. ValueError when it is refused."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def value(self, expression: str) -> float | None:
        """The only sample of now; None when there is none yet."""
        found = self.query(expression)
        assert len(found) < 2, found
        return float(found[0]["value"][1]) if found else None

    def query_range(self, expression: str, start: float, end: float, step_s: float) -> list[dict[str, Any]]:
        """The samples of a time: `metric` and `values` each."""
        asked = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step_s:g}"}
        found: list[dict[str, Any]] = self._get("query_range", query=expression, **asked)["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """All recording rules and alerts, with their health."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            self.query("vector(1)")
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            return False
        return True

    def _get(self, path: str, **asked: str) -> Any:
        try:
            asking = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
            with urllib.request.urlopen(asking, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            with error:
                raise ValueError(f"{asked}: {error.read().decode()}") from error


@contextlib.contextmanager
def scraping(target: str, folder: Path, *, interval: str = "200ms") -> Iterator[PrometheusServer]:
    """A Prometheus that scrapes `target` (ADDRESS:PORT) at this interval, its data in `folder`; ended at the end."""
    (folder / "prometheus.yml").write_text(
        _CONFIGURATION.format(interval=interval, rules=CONFIG / "prometheus", job=JOB, target=target)
    )
    address = f"127.0.0.1:{_free_port()}"
    with (folder / "log").open("wb") as log, _ended(_command(folder, address), log) as process:
        server = PrometheusServer(address)
        deadline = time.monotonic() + _READY_SECONDS
        while not server.is_ready():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "Prometheus does not answer"
            time.sleep(0.05)
        yield server


def _command(folder: Path, address: str) -> Sequence[str]:
    return (
        str(PROMETHEUS),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    )


@contextlib.contextmanager
def _ended(command: Sequence[str], log: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
