"""The TLS side of the API's listener for other machines."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import structlog

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files, and where to listen with them."""

    host: str
    port: int
    certificate: Path
    key: Path
    client_ca: Path | None = None
    """The CA of client certificates; None: none are asked for."""


class ServerTls:
    """A context for connections. OSError (an SSLError is one) when the files cannot be used."""

    def __init__(self, files: TlsFiles) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.client_ca)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        if files.client_ca is not None:
            # Not CERT_REQUIRED: others come with a token.
            self.context.verify_mode = ssl.CERT_OPTIONAL
        self._files = files
        self._loaded = self._changed_at()
        self.context.load_cert_chain(files.certificate, files.key)

    def refresh(self) -> None:
        """Take in a certificate that was renewed; the old one goes on where the new one cannot be used."""
        try:
            if (changed_at := self._changed_at()) != self._loaded:
                self._loaded = changed_at
                self.context.load_cert_chain(self._files.certificate, self._files.key)
                logger.info("api_certificate_renewed", file=str(self._files.certificate))
        except OSError as error:
            logger.warning("api_certificate_unusable", file=str(self._files.certificate), error=str(error))

    def _changed_at(self) -> tuple[int, int]:
        return self._files.certificate.stat().st_mtime_ns, self._files.key.stat().st_mtime_ns
