"""Where a daemon answers: its unix socket, or its TLS listener with a token or a client certificate."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import click

if TYPE_CHECKING:
    import aiohttp


class Endpoint(Protocol):
    """A daemon's address and how it is reached; `str` of it is for people."""

    @property
    def url(self) -> str:
        """What paths are appended to."""

    def headers(self) -> dict[str, str]:
        """What every request carries."""

    def connector(self) -> "aiohttp.BaseConnector":
        """For one session; needs a running loop."""

    def why_not(self, error: OSError) -> str:
        """What a failed connection means, and what to do."""


@dataclass(frozen=True, slots=True)
class SocketEndpoint:
    """A daemon on this machine."""

    path: Path
    url = "http://scheduler"

    def __str__(self) -> str:
        return str(self.path)

    def headers(self) -> dict[str, str]:
        """See Endpoint; the kernel says who asks."""
        return {}

    def connector(self) -> "aiohttp.BaseConnector":
        """See Endpoint."""
        import aiohttp

        return aiohttp.UnixConnector(str(self.path))

    def why_not(self, error: OSError) -> str:
        """See Endpoint."""
        if isinstance(error, PermissionError):
            return f"not allowed to use {self}: be root or a member of its group"
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return f"no daemon at {self}: start it with `systemctl start virt-scheduler` or `virt-scheduler run`"
        return f"cannot use {self}: {error.strerror or error}"


@dataclass(frozen=True, slots=True)
class ServerEndpoint:
    """A daemon on another machine. Raises click.UsageError for files that cannot be used."""

    url: str
    token_path: Path | None = None
    ca_path: Path | None = None
    """The CA of its certificate; None: those that this machine trusts."""
    certificate_path: Path | None = None
    """Client certificate and key in one PEM file."""

    def __str__(self) -> str:
        return self.url

    def headers(self) -> dict[str, str]:
        """See Endpoint."""
        if self.token_path is None:
            return {}
        try:
            token = self.token_path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"cannot read the token in {self.token_path}: {_reason(error)}") from None
        if not token or not token.isprintable() or " " in token:
            raise click.UsageError(f"{self.token_path} holds no token: one line, as `virt-scheduler token` wrote it")
        return {"Authorization": f"Bearer {token}"}

    def connector(self) -> "aiohttp.BaseConnector":
        """See Endpoint."""
        import ssl

        import aiohttp

        try:
            context = ssl.create_default_context(cafile=self.ca_path)
            if self.certificate_path is not None:
                context.load_cert_chain(self.certificate_path)
        except OSError as error:
            files = " or ".join(str(path) for path in (self.ca_path, self.certificate_path) if path)
            raise click.UsageError(f"cannot use the certificate in {files}: {_reason(error)}") from None
        return aiohttp.TCPConnector(ssl=context)

    def why_not(self, error: OSError) -> str:
        """See Endpoint."""
        import ssl

        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the certificate of {self} is not trusted ({error.verify_message}): name its CA with --ca"
        return f"no daemon at {self}: {error.strerror or error}"


def checked_url(url: str) -> str:
    """`url` without a slash at its end; click.UsageError where it is not https://HOST:PORT."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme != "https" or not parts.hostname or port is None or parts.path.strip("/") or parts.username:
        raise click.UsageError(f"--server: {url!r} is no address of a daemon: write https://HOST:PORT")
    return url.rstrip("/")


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
