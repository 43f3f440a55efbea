"""The policy `virt-scheduler`: the daemon itself, whole, on the simulated cluster and clock."""

import asyncio

from ..cluster.model import HostState, Snapshot
from ..config.action import BalanceSection, WeightsSection
from ..config.hosts import HostSection
from ..config.models import Config
from ..config.rules import AffinitySection, AntiAffinitySection, PinSection, PrioritySection
from ..daemon.daemon import Daemon
from ..daemon.waiting import end
from ..operations.journal import Journal
from ..operations.records import PlacementOutcome
from ..operations.settings import Mode
from ..web.control import ControlError
from .meter import Meter
from .scene import Scene
from .script import Deed

SCRIPT = "script"


class OwnDaemon:
    """Steers by a config of which hosts are those of the scene, in mode `auto`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._tasks: list[asyncio.Task[None]] = []
        self._daemon: Daemon
        self._journal: Journal

    async def begin(self, scene: Scene, meter: Meter) -> None:  # noqa: ARG002 - it looks by itself
        """See Steering. Hosts in maintenance are cordoned first."""
        self._journal = await Journal.open(":memory:")
        self._daemon = Daemon(self._config, None, scene.cluster, self._journal, scene.clock)
        scene.clock.busy = self._busy
        self._tasks = [asyncio.create_task(self._daemon.follow_events())]
        await scene.clock.run(self._daemon.start())
        for host in scene.snapshot.hosts:
            if host.state is HostState.MAINTENANCE:
                await scene.clock.run(self._daemon.service.cordon(host.name, requested_by="snapshot"))
        self._tasks.append(asyncio.create_task(self._daemon.cycle.run()))

    async def end(self) -> None:
        """See Steering."""
        await end(*self._tasks)
        await self._daemon.stop()
        await self._journal.close()

    async def place(self, uuid: str) -> bool:
        """See Steering."""
        try:
            records = await self._daemon.service.start([uuid], host=None, dry_run=False, requested_by=SCRIPT)
        except ControlError:
            return False
        return all(record.outcome is PlacementOutcome.STARTED for record in records)

    async def serve(self, deed: Deed, host: str) -> None:
        """See Steering."""
        service = self._daemon.service
        if deed is Deed.DRAIN:
            await service.drain(host, dry_run=False, requested_by=SCRIPT)
        elif deed is Deed.CORDON:
            await service.cordon(host, requested_by=SCRIPT)
        else:
            await service.uncordon(host, requested_by=SCRIPT)

    def _busy(self) -> bool:
        return self._journal.pending > 0 or self._daemon.planning.busy or self._daemon.worker.busy


def config_for(snapshot: Snapshot, written: Config | None) -> Config:
    """The config to replay a snapshot by: its hosts, mode `auto`, and all else as written.

    Without a written one the snapshot's own rules and settings hold, and the defaults.
    """
    # Built without the file's checks: a snapshot need not have what could be written there.
    hosts = tuple(
        HostSection.model_construct(
            name=host.name,
            uri=f"test://{host.name}/default",
            peer_uri="",
            migration_address="",
            reserved_memory_mib=host.reserved_memory_mib,
            labels=dict(host.labels),
            mode=None,
        )
        for host in snapshot.hosts
    )
    here = {"mode": Mode.AUTO, "hosts": hosts}
    return (written or _config_of(snapshot)).model_copy(update=here)


def _config_of(snapshot: Snapshot) -> Config:
    rules, settings = snapshot.rules, snapshot.settings
    balance = BalanceSection()
    if settings is not None:
        told = {name: getattr(settings, name) for name in BalanceSection.model_fields if name != "weights"}
        balance = BalanceSection.model_construct(
            **told, weights=WeightsSection.model_construct(None, **settings.weights)
        )
    return Config(
        balance=balance,
        pins=tuple(
            PinSection.model_construct(vm=rule.vm, hosts=rule.hosts, strength=rule.strength) for rule in rules.pins
        ),
        anti_affinity=tuple(
            AntiAffinitySection.model_construct(
                vms=rule.vms,
                against=rule.against,
                strength=rule.strength,
                max_per_host=rule.max_per_host,
                spread_over=rule.spread_over or "",
            )
            for rule in rules.anti_affinity
        ),
        affinity=tuple(
            AffinitySection.model_construct(vms=rule.vms, strength=rule.strength) for rule in rules.affinity
        ),
        priorities=tuple(
            PrioritySection.model_construct(vms=rule.vms, priority=rule.priority) for rule in rules.priorities
        ),
    )
