"""Where the API and the metrics listen: the unix socket and its fate, TCP ports, how long a client may dawdle, the end.

What arrives on a connection is bounded here, whoever sent it: how many there are, how long a handshake, a request's
headers or an idle client may take, and for how long nobody need read what is answered.
"""

import asyncio
import errno
import fcntl
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from .connection import Connection, name_nobody
from .limits import ConnectionLimits
from .tls import ServerTls, TlsFiles

_SHUTDOWN_SECONDS = 2.0
"""How long calls under way may take to end; aiohttp waits as long again for those that it then cancels."""
_BACKLOG = 128
_DEFAULT_LIMITS = ConnectionLimits()


class ListenError(Exception):
    """A listener that cannot be opened; the text is one sentence that names it."""


@asynccontextmanager
async def serve_api(
    app: web.Application,
    path: Path,
    *,
    mode: int = 0o660,
    tls: TlsFiles | None = None,
    limits: ConnectionLimits = _DEFAULT_LIMITS,
) -> AsyncIterator[tuple[str, int] | None]:
    """Serve `app` on the unix socket `path`, and over TLS where that is wanted, while the context lasts.

    Yields the address of the TLS listener. A socket left over from a killed daemon is replaced. ListenError when
    another daemon answers on it, when `path` is something else, when the certificate cannot be used, or when the system
    refuses.
    """
    async with AsyncExitStack() as stack:
        unix = stack.enter_context(_listening(path, mode))
        tcp = None if tls is None else stack.enter_context(_bound("the API", tls.host, tls.port, limits))
        secured = None if tls is None else _secured(tls)
        runner = await stack.enter_async_context(_running(app))
        await _Site(runner, unix, limits).start()
        if tcp is not None:
            await _Site(runner, tcp, limits, secured).start()
        yield None if tcp is None else tcp.getsockname()[:2]


@asynccontextmanager
async def serve_metrics(registry: CollectorRegistry, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
    """Serve GET /metrics on `host`:`port` while the context lasts; yields the address (port 0: any free one).

    ListenError when the address cannot be had.
    """

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=encode(registry), headers={hdrs.CONTENT_TYPE: content_type})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    limits = _DEFAULT_LIMITS
    with _bound("metrics", host, port, limits) as listener:
        async with _running(app) as runner:
            await _Site(runner, listener, limits).start()
            yield listener.getsockname()[:2]


class _Site(web.BaseSite):
    """A listener whose clients are held to limits."""

    def __init__(
        self, runner: web.AppRunner, listener: socket.socket, limits: ConnectionLimits, tls: ServerTls | None = None
    ) -> None:
        super().__init__(runner, ssl_context=None if tls is None else tls.context, backlog=_BACKLOG)
        self._listener = listener
        self._limits = limits
        self._tls = tls

    @property
    def name(self) -> str:
        """Where it listens."""
        return str(self._listener.getsockname())

    async def start(self) -> None:
        """Take connections from now on."""
        await super().start()
        self._server = await asyncio.get_running_loop().create_server(
            self._connected,
            sock=self._listener,
            backlog=_BACKLOG,
            ssl=self._ssl_context,
            ssl_handshake_timeout=None if self._tls is None else self._limits.handshake_seconds,
        )

    def _connected(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None  # noqa: S101 - a site is made of a runner that is set up
        if sum(known.ssl_context is self._ssl_context for known in server.connections) >= self._limits.connections:
            return _OneTooMany()
        if self._tls is not None:
            self._tls.refresh()
        return Connection(server, self._limits)


class _OneTooMany(asyncio.Protocol):
    """Hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        transport.close()


def _secured(files: TlsFiles) -> ServerTls:
    try:
        return ServerTls(files)
    except OSError as error:
        names = ", ".join(str(path) for path in (files.certificate, files.key, files.client_ca) if path)
        raise ListenError(f"cannot serve the API over TLS with {names}: {error.strerror or error}") from error


@asynccontextmanager
async def _running(app: web.Application) -> AsyncIterator[web.AppRunner]:
    app.on_response_prepare.append(name_nobody)
    runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


@contextmanager
def _bound(what: str, host: str, port: int, limits: ConnectionLimits) -> Iterator[socket.socket]:
    """A TCP socket at the one address that `host` means (port 0: any free one); the listening is left to asyncio."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise ListenError(f"cannot serve {what} on {host}:{port}: {error.strerror or error}") from error
    with listener:
        try:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.unread_seconds * 1000))
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise ListenError(f"cannot serve {what} on {host}:{port}: {error.strerror or error}") from error
        yield listener


@contextmanager
def _listening(path: Path, mode: int) -> Iterator[socket.socket]:
    """A socket that listens at `path`, as nobody else does; the path goes with it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.setblocking(False)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with _alone_in(path.parent):
                _remove_stale(path)
                listener.bind(str(path))
                # Nobody can connect before it listens, so the mode holds from the first connection on.
                path.chmod(mode)
                listener.listen(_BACKLOG)
        except OSError as error:
            raise ListenError(f"cannot serve the API on {path}: {error.strerror or error}") from error
        ours = path.stat().st_ino
        try:
            yield listener
        finally:
            with suppress(FileNotFoundError):
                # Somebody may have removed our socket and put his own there.
                if path.stat().st_ino == ours:
                    path.unlink()


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Keep a second daemon that starts at the same moment from taking our new socket for a stale one."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Remove a socket on which nobody answers; ListenError when somebody does or when it is no socket."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ListenError(f"cannot serve the API on {path}: it exists and is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        refused = probe.connect_ex(str(path))
    if refused == errno.ECONNREFUSED:
        path.unlink()
    elif refused in {0, errno.EAGAIN}:  # EAGAIN: its backlog is full, so it lives
        raise ListenError(f"cannot serve the API on {path}: another daemon already answers there")
    elif refused != errno.ENOENT:
        raise OSError(refused, os.strerror(refused))
