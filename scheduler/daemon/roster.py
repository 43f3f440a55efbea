"""The hosts that are watched: those of the config, and those that left it while something was under way there."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from ..cluster.ports import HostAddress, HypervisorCluster
from ..config.hosts import HostSection
from ..config.models import Config
from ..operations.clock import Clock
from ..operations.drain import Drains
from ..operations.gate import Gate
from ..operations.migration import Migrations
from ..operations.records import MigrationState
from .observer import Observer, WatchedHost
from .waiting import end

LET_GO_PERIOD_S = 1.0
"""How often it is looked whether a leaving host is free."""
_NOT_BEGUN = frozenset({MigrationState.QUEUED, MigrationState.CHECKING})


class Roster:
    """Connects, watches and lets go. A host with a new address may be another machine: it leaves, and comes anew."""

    def __init__(
        self,
        cluster: HypervisorCluster,
        observer: Observer,
        gate: Gate,
        migrations: Migrations,
        drains: Drains,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._observer = observer
        self._gate = gate
        self._migrations = migrations
        self._drains = drains
        self._clock = clock
        self._changed = changed
        self._wanted: Mapping[str, HostSection] = {}
        self._connected: dict[str, HostAddress] = {}
        self._one_at_a_time = asyncio.Lock()
        self._letting_go: asyncio.Task[None] | None = None

    @property
    def names(self) -> list[str]:
        """All hosts that are watched."""
        return list(self._connected)

    @property
    def leaving(self) -> frozenset[str]:
        """Hosts that the config does not have any more, or not at that address: nothing new begins there."""
        return frozenset(
            name
            for name, address in self._connected.items()
            if name not in self._wanted or self._wanted[name].to_address() != address
        )

    def uri(self, host: str) -> str:
        """How a host is reached."""
        return self._connected[host].uri

    async def follow(self, config: Config) -> None:
        """Take in the config's hosts, and let the others go, at once or when nothing is under way there any more."""
        async with self._one_at_a_time:
            self._wanted = {host.name: host for host in config.hosts}
            leaving = self._gate.leaving = self.leaving
            for host in leaving:
                await self._drains.let_go(host)
            for record in self._migrations.running():
                for host in {record.source, record.destination} & leaving:
                    if record.state in _NOT_BEGUN:
                        with suppress(KeyError):  # it has just ended
                            await self._migrations.abort(record.id, f"{host} was taken out of the config")
            await self._let_go_and_take_in()
        if self.leaving and (self._letting_go is None or self._letting_go.done()):
            self._letting_go = asyncio.create_task(self._let_go_in_time(), name="let-go")

    async def stop(self) -> None:
        """Wait for nothing any more."""
        await end(self._letting_go)

    async def _let_go_in_time(self) -> None:
        while self.leaving:
            await self._clock.sleep(LET_GO_PERIOD_S)
            async with self._one_at_a_time:
                await self._let_go_and_take_in()

    async def _let_go_and_take_in(self) -> None:
        before = self._connected.copy()
        for host in self.leaving:
            if not self._gate.occupied(host):
                await self._observer.unwatch(host)
                await self._cluster.disconnect(host)
                del self._connected[host]
        for name, wanted in self._wanted.items():
            if name not in self._connected:
                self._connected[name] = wanted.to_address()
                await self._cluster.connect(wanted.to_address())
            watched = WatchedHost(name=name, reserved_memory_mib=wanted.reserved_memory_mib, labels=wanted.labels)
            self._observer.watch(watched)
        self._gate.leaving = self.leaving
        if self._connected != before:
            self._changed()
