"""Where the API and the metrics listen: the unix socket and its fate, the metrics' TCP port, the orderly end."""

import errno
import fcntl
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

_SHUTDOWN_SECONDS = 2.0
"""How long calls under way may take to end; aiohttp waits as long again for those that it then cancels."""
_BACKLOG = 128


class ListenError(Exception):
    """A listener that cannot be opened; the text is one sentence that names it."""


@asynccontextmanager
async def serve_api(app: web.Application, path: Path, *, mode: int = 0o660) -> AsyncIterator[None]:
    """Serve `app` on the unix socket `path` while the context lasts.

    A socket left over from a killed daemon is replaced. ListenError when another daemon answers on it, when `path` is
    something else, or when the system refuses.
    """
    with _listening(path, mode) as listener:
        async with _running(web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)) as runner:
            await web.SockSite(runner, listener, backlog=_BACKLOG).start()
            yield


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
    async with _running(web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)) as runner:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ListenError(f"cannot serve metrics on {host}:{port}: {error.strerror or error}") from error
        bound = runner.addresses[0]
        yield bound[0], bound[1]


@asynccontextmanager
async def _running(runner: web.AppRunner) -> AsyncIterator[web.AppRunner]:
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


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
