"""The process: from a config path to an exit code, with signals, listeners, readiness and watchdog."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import structlog

from ..cluster.ports import HypervisorCluster
from ..config.loading import DEFAULT_PATH, ConfigError, load
from ..config.models import Config
from ..hypervisor.cluster import LibvirtCluster
from ..operations.clock import SystemClock
from ..operations.journal import Journal, JournalError
from ..web.app import create_app
from ..web.control import ControlError
from ..web.server import ListenError, serve_api, serve_metrics
from .daemon import Daemon
from .notify import Notifier

log = structlog.get_logger(__name__)

STUCK_S = 20.0
"""A cycle loop that has not come round for so long, beside its sample interval, is stuck: the watchdog may bite."""
BAD_INPUT = 2
FAILED = 1


class _StopError(Exception):
    """Ends the task group on SIGTERM or SIGINT."""


def run(config_path: Path | None) -> int:
    """Run the daemon until it is told to stop. 0: stopped, 1: it could not go on, 2: the config has mistakes."""
    try:
        config = load(config_path)
    except ConfigError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        return BAD_INPUT
    path = config_path or (DEFAULT_PATH if DEFAULT_PATH.exists() else None)
    try:
        asyncio.run(serve(config, path, LibvirtCluster(map(str, config.shared_directories)), Notifier()))
    except (JournalError, ListenError, OSError) as error:
        sys.stderr.write(f"virt-scheduler: {error}\n")
        return FAILED
    return 0


async def serve(config: Config, path: Path | None, cluster: HypervisorCluster, notifier: Notifier) -> None:
    """Run the daemon on any cluster until SIGTERM or SIGINT; SIGHUP reloads its config."""
    config.state_directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    journal = await Journal.open(config.state_directory / "journal.sqlite")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(journal.close)
        daemon = Daemon(config, path, cluster, journal, SystemClock())
        stack.push_async_callback(daemon.stop)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(daemon.follow_events(), name="events")
                await daemon.start()
                await stack.enter_async_context(serve_api(create_app(daemon.service), config.api.socket))
                if config.metrics.address is not None:
                    await stack.enter_async_context(serve_metrics(daemon.metrics.registry, *config.metrics.address))
                tasks.create_task(daemon.cycle.run(), name="cycle")
                tasks.create_task(_heed_signals(daemon, notifier), name="signals")
                tasks.create_task(_tell_systemd(daemon, notifier), name="systemd")
                notifier.ready("ready")
                log.info("ready", hosts=len(config.hosts), mode=config.mode.value, socket=str(config.api.socket))
        except* _StopError:
            log.info("stopping; what migrates goes on")
        finally:
            notifier.stopping()


async def _heed_signals(daemon: Daemon, notifier: Notifier) -> None:
    loop, received = asyncio.get_running_loop(), asyncio.Queue[signal.Signals]()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, received.put_nowait, number)
    while await received.get() is signal.SIGHUP:
        notifier.reloading()
        with contextlib.suppress(ControlError):  # it is logged, and told by `status`
            await daemon.reload()
        notifier.ready(daemon.service.status().sentence)
    raise _StopError


async def _tell_systemd(daemon: Daemon, notifier: Notifier) -> None:
    """The sentence of the last cycle, and a sign of life for as long as cycles come round."""
    period_s = min(5.0, (notifier.watchdog_seconds or 10.0) / 3)
    told = None
    while True:
        if daemon.seconds_since_cycle_loop() < STUCK_S + daemon.cycle.settings.sample_interval_s:
            notifier.alive()
        sentence = daemon.service.status().sentence
        if sentence != told:
            notifier.status(sentence)
            told = sentence
        await asyncio.sleep(period_s)
