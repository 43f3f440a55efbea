"""How a host's ports look from this machine: whether they can be reached, and until when its certificate is valid."""

import asyncio
import errno
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

TLS_PORT = 16514
"""libvirt's own."""
PATIENCE_SECONDS = 3.0


def tls_endpoint(uri: str) -> tuple[str, int] | None:
    """Where a libvirt URI leads over TLS; None when it does not go over TLS or to another machine."""
    parts = urlsplit(uri)
    if not parts.hostname or not (parts.scheme.endswith("+tls") or "+" not in parts.scheme):
        return None
    return parts.hostname, parts.port or TLS_PORT


def host_of(uri: str) -> str | None:
    """The machine that a libvirt URI names; None when it is this one."""
    return urlsplit(uri).hostname


async def certificate_ends(host: str, port: int, pki: Path) -> datetime:
    """Until when the certificate that libvirt's TLS port shows is valid; it is checked against libvirt's CA.

    `pki` is the folder where libvirt keeps certificates. Raises OSError (ssl.SSLError is one) when the port cannot be
    reached or the certificate is not to be trusted.
    """
    authority = pki / "CA" / "cacert.pem"
    if not authority.exists():
        raise FileNotFoundError(errno.ENOENT, f"cannot be checked without the CA certificate {authority}")
    context = ssl.create_default_context(cafile=str(authority))
    with suppress(OSError):  # without one the handshake may still show the server's
        context.load_cert_chain(pki / "libvirt" / "clientcert.pem", pki / "libvirt" / "private" / "clientkey.pem")
    async with asyncio.timeout(PATIENCE_SECONDS):
        _, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        certificate = writer.get_extra_info("peercert")
    finally:
        writer.close()
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)


async def knock(host: str, port: int) -> None:
    """Return when packets get to the port and back, be it open or not. Raises OSError when they do not."""
    with suppress(ConnectionRefusedError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
