"""Which config and daemon the caller named; apart from what speaks to the daemon, so that other commands start fast."""

from dataclasses import dataclass
from pathlib import Path

import click

from .endpoint import Endpoint, ServerEndpoint, SocketEndpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which config and which daemon the caller named."""

    config_path: Path | None = None
    socket_path: Path | None = None
    server: ServerEndpoint | None = None

    def endpoint(self) -> Endpoint:
        """The server named, else the socket. UsageError as `socket`."""
        return self.server or SocketEndpoint(self.socket())

    def socket(self) -> Path:
        """The socket named, else the config's, else the default one. UsageError when a named config tells none."""
        if self.socket_path is not None:
            return self.socket_path
        from ..config import Config, ConfigError, find_socket

        try:
            return find_socket(self.config_path)
        except ConfigError as error:
            if self.config_path is not None:
                raise click.UsageError("\n".join(error.problems)) from None
            # Not everyone who may speak to the daemon may read its config.
            return Config().api.socket
