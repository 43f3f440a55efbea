"""The process: from a config path to an exit code, with signals, listeners, readiness and watchdog."""

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import structlog

from ..cluster.assemble import HostInput
from ..cluster.ports import HypervisorCluster
from ..config.loading import DEFAULT_PATH, ConfigError, load
from ..config.models import Config
from ..hypervisor.cluster import LibvirtCluster
from ..operations import load_record
from ..operations.clock import Clock, SystemClock
from ..operations.journal import Journal, JournalError
from ..operations.journal_file import NAME
from ..operations.load_record import LoadRecorder
from ..web.app import create_app
from ..web.control import ControlError
from ..web.server import ListenError, serve_api, serve_metrics
from ..web.tls import TlsFiles
from . import pauses, recording
from .daemon import Daemon
from .doctor import Finding, examine, flaws, observed
from .notify import Notifier

log = structlog.get_logger(__name__)

BAD_INPUT = 2
FAILED = 1


class StateError(Exception):
    """The state directory cannot be used; the text says why."""


class _StopError(Exception):
    """Ends the task group on SIGTERM or SIGINT."""


def run(config_path: Path | None, set_up_logs: Callable[[Config], None] = lambda _: None) -> int:
    """Run the daemon until it is told to stop. 0: stopped, 1: it could not go on, 2: the config has mistakes.

    `set_up_logs` is called at the start and whenever another config is in force.
    """
    try:
        config = load(config_path)
    except ConfigError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        return BAD_INPUT
    set_up_logs(config)
    path = config_path or (DEFAULT_PATH if DEFAULT_PATH.exists() else None)
    code = 0
    try:
        cluster = LibvirtCluster(map(str, config.shared_directories))
        asyncio.run(serve(config, path, cluster, Notifier(), set_up_logs=set_up_logs))
    except* (StateError, JournalError, ListenError, OSError) as errors:
        sys.stderr.writelines(f"virt-scheduler: {one}\n" for one in _each(errors))
        code = FAILED
    return code


async def look_over(config: Config) -> list[Finding]:
    """What `check --connect` finds on the config's hosts; no daemon need run, and none is disturbed."""
    cluster = LibvirtCluster(map(str, config.shared_directories))
    hosts = [
        HostInput(
            name=host.name,
            reachable=False,
            observation=None,
            reserved_memory_mib=host.reserved_memory_mib,
            labels=host.labels,
        )
        for host in config.hosts
    ]
    try:
        findings = await examine(cluster, config.to_host_addresses())
        return findings + flaws(await observed(cluster, hosts, config.to_rules()))
    finally:
        await cluster.close()


async def serve(
    config: Config,
    path: Path | None,
    cluster: HypervisorCluster,
    notifier: Notifier,
    *,
    clock: Clock | None = None,
    set_up_logs: Callable[[Config], None] = lambda _: None,
) -> None:
    """Run the daemon on any cluster until SIGTERM or SIGINT; SIGHUP reloads its config.

    Raises StateError, JournalError or ListenError, alone or in a group, when it cannot start or cannot go on.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_alone_in(config.state_directory))
        journal = await Journal.open(config.state_directory / NAME)
        stack.push_async_callback(journal.close)
        clock = clock or SystemClock()
        daemon = Daemon(config, path, cluster, journal, clock, set_up_logs)
        stack.push_async_callback(daemon.stop)
        received = stack.enter_context(_signals())
        try:
            async with asyncio.TaskGroup() as tasks:
                ready = asyncio.Event()
                tasks.create_task(_heed(received, ready, daemon, notifier), name="signals")
                tasks.create_task(daemon.follow_events(), name="events")
                await daemon.start()
                await stack.enter_async_context(_listeners(daemon, config))
                tasks.create_task(daemon.cycle.run(), name="cycle")
                tasks.create_task(pauses.keep_short(clock), name="pauses")
                tasks.create_task(_record(daemon, config.state_directory, clock), name="recording")
                tasks.create_task(_tell_systemd(daemon, notifier), name="systemd")
                ready.set()
                notifier.ready("ready")
                log.info("ready", hosts=len(config.hosts), mode=config.mode.value, socket=str(config.api.socket))
        except* _StopError:
            log.info("stopping; what migrates goes on")
        finally:
            notifier.stopping()


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Hold the state directory: two daemons on one journal would both act."""
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StateError(f"cannot use the state directory {directory}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StateError(f"another daemon works in the state directory {directory}") from None
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _signals() -> Iterator[asyncio.Queue[signal.Signals]]:
    """What the process is told by signals, in their order."""
    loop, received = asyncio.get_running_loop(), asyncio.Queue[signal.Signals]()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, received.put_nowait, number)
    try:
        yield received
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _listeners(daemon: Daemon, config: Config) -> AsyncIterator[None]:
    app, api = create_app(daemon.service, access=lambda: daemon.access), config.api
    async with serve_api(app, api.socket, mode=int(api.socket_mode, 8), tls=_tls(config)):
        if config.metrics.address is None:
            yield
            return
        async with serve_metrics(daemon.metrics.registry, *config.metrics.address):
            yield


def _tls(config: Config) -> TlsFiles | None:
    api, address = config.api, config.api.tls.address
    if address is None:
        return None
    return TlsFiles(
        host=address[0],
        port=address[1],
        certificate=api.tls.certificate,
        key=api.tls.key,
        client_ca=api.tls.client_ca if api.certificates else None,
    )


async def _heed(
    received: asyncio.Queue[signal.Signals], ready: asyncio.Event, daemon: Daemon, notifier: Notifier
) -> None:
    while await received.get() is signal.SIGHUP:
        await ready.wait()
        notifier.reloading()
        with contextlib.suppress(ControlError):  # it is logged, and told by `status`
            await daemon.reload()
        notifier.ready(daemon.cycle.sentence)
    raise _StopError


async def _record(daemon: Daemon, directory: Path, clock: Clock) -> None:
    recorder = LoadRecorder(directory / load_record.NAME)
    await recording.keep(recorder, daemon.service.snapshot, lambda: daemon.keep_load_seconds, clock)


async def _tell_systemd(daemon: Daemon, notifier: Notifier) -> None:
    """The sentence of the last cycle, and a sign of life for as long as cycles come round."""
    period_s = min(5.0, (notifier.watchdog_seconds or 10.0) / 3)
    told = None
    while True:
        if not daemon.cycle.stuck:
            notifier.alive()
        if daemon.cycle.sentence != told:
            told = daemon.cycle.sentence
            notifier.status(told)
        await asyncio.sleep(period_s)


def _each(errors: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _each(error)
        else:
            yield error
