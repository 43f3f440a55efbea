"""The daemon's configuration for a lab."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .host import LabHost

_RESERVED_MEMORY = "64MiB"


def config_toml(directory: Path, hosts: Iterable[LabHost]) -> str:
    """TOML that lets the daemon schedule `hosts`, its state and socket in `directory`, metrics on a free port."""
    head = f"""\
mode = "auto"
state_directory = {_string(str(directory / "state"))}

[api]
socket = {_string(str(directory / "api.sock"))}

[metrics]
listen = "127.0.0.1:{_free_port()}"
"""
    return head + "".join(_host_toml(host) for host in hosts)


def _host_toml(host: LabHost) -> str:
    labels = ", ".join(f"{name} = {_string(value)}" for name, value in host.spec.labels.items())
    return f"""
[[hosts]]
name = {_string(host.name)}
uri = {_string(host.uri)}
peer_uri = {_string(host.peer_uri)}
migration_address = {_string(host.migration_address)}
reserved_memory = "{_RESERVED_MEMORY}"
labels = {{ {labels} }}
"""


def _string(text: str) -> str:
    # A JSON string is a TOML basic string too.
    return json.dumps(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
