"""A `Control` that keeps a small cluster in memory, and a client for the socket it is served on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import aiohttp

from scheduler.cluster.codec import dump_snapshot
from scheduler.cluster.matrix import Baseline, BaselineHost, LeftOut, Matrix, MatrixHost, Pair, Possible
from scheduler.cluster.model import Host, HostState, Snapshot, Vm, VmState
from scheduler.cluster.reason import Reason
from scheduler.cluster.rules import Pin, Rules, selects
from scheduler.operations.records import (
    Attempt,
    Decision,
    Doings,
    MigrationRecord,
    MigrationState,
    PlacementOutcome,
    PlacementRecord,
    Recommendation,
    RecommendationState,
    RequestRecord,
    Trigger,
)
from scheduler.web.control import ControlError, HostStatus, Notice, Status, Verdict

SHORT = Reason("memory_short", "needs 8,192 MiB, 2,048 MiB short", short_mib=2048)


def migration_record(migration_id: int = 1, **changes: object) -> MigrationRecord:
    """A completed migration of 8 s, predicted at 10 s; `changes` replace fields."""
    record = MigrationRecord(
        id=migration_id,
        vm="web1",
        uuid="4b3f6e0e-2f9c-4c58-9b1d-0a7f5b8f3d01",
        source="node1",
        destination="node2",
        trigger=Trigger.BALANCE,
        state=MigrationState.COMPLETED,
        reason_code="cpu_contention",
        reason="waits 20 % of the time on node1",
        requested_at=100.0,
        started_at=101.0,
        ended_at=109.0,
        predicted_seconds=10.0,
        duration_seconds=8.0,
        downtime_ms=120,
        transferred_bytes=512 * 1024 * 1024,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def small_cluster() -> Snapshot:
    """Two hosts, one of them cordoned; three VMs, one of them stopped."""
    return Snapshot(
        taken_at=datetime(2026, 11, 23, 10, 0, tzinfo=UTC),
        hosts=(
            Host(
                name="node1",
                cpus=8,
                memory_mib=16384,
                cpu_used_cores=6.0,
                cpu_features=frozenset({"sse4.2", "avx2", "aes"}),
                labels=MappingProxyType({"rack": "a"}),
            ),
            Host(name="node2", cpus=4, memory_mib=8192, state=HostState.MAINTENANCE, stale=True),
        ),
        vms=(
            Vm(name="web1", uuid="u-1", vcpus=2, memory_mib=2048, host="node1", cpu_wait_ratio=0.2),
            Vm(name="web2", uuid="u-2", vcpus=2, memory_mib=2048, host="node1", cpu_wait_ratio=0.004),
            Vm(name="db1", uuid="u-3", vcpus=4, memory_mib=8192, state=VmState.STOPPED, labels={"tier": "data"}),
        ),
        rules=Rules(pins=(Pin("db-*", ("node1",)),)),
    )


class MemoryControl:
    """A daemon whose cluster is two hosts in memory. What it was asked is in `asked`."""

    def __init__(self) -> None:
        self.cluster = small_cluster()
        self.ready = True
        self.asked: list[tuple[object, ...]] = []
        self.records = [migration_record(2, state=MigrationState.MIGRATING, ended_at=None), migration_record(1)]
        self.recommended = Recommendation(
            id=1,
            vm="web1",
            uuid="u-1",
            source="node1",
            destination="node2",
            trigger=Trigger.BALANCE,
            reason_code="cpu_contention",
            reason="waits",
            gain=0.3,
            predicted_seconds=8.0,
            at=100.0,
            cycle="c1",
        )
        self.requested: list[RequestRecord] = []
        self.broken: Exception | None = None
        self._ring: list[Notice] = []
        self._grown = asyncio.Event()

    def status(self) -> Status:
        return Status(
            version="0.1.0",
            mode="auto",
            ready=self.ready,
            started_at=90.0,
            cycle="c1",
            cycle_at=100.0,
            sentence="all VMs run unhindered" if self.ready else "1 of 2 hosts is connected",
            hosts_up=1,
            hosts_total=2,
            hosts_down={"node2": "connection refused"},
            vms_running=2,
            vms_total=3,
            migrations_running=1,
            recommendations_pending=1,
            config_path="/etc/virt-scheduler/config.toml",
            config_error="",
        )

    def hosts(self) -> list[HostStatus]:
        if self.broken is not None:
            raise self.broken
        return [
            HostStatus(
                name="node1",
                state="up",
                detail="",
                uri="qemu+tls://node1/system",
                cpus=8,
                cpu_model="Haswell",
                cpu_used_cores=6.0,
                memory_mib=16384,
                reserved_memory_mib=2048,
                committed_memory_mib=4096,
                free_memory_mib=10240,
                vms_running=2,
                outbound=1,
                contended_seconds=30.0,
            ),
            HostStatus(name="node2", state="maintenance", detail="cordoned", uri="qemu+tls://node2/system", inbound=1),
        ]

    def snapshot(self) -> Snapshot:
        return self.cluster

    async def verdicts(self, vm: str, host: str | None) -> list[Verdict]:
        if not any(selects(vm, name=known.name, uuid=known.uuid, labels=known.labels) for known in self.cluster.vms):
            raise ControlError("not_found", f"there is no VM {vm}")
        verdicts = [
            Verdict(host="node1", allowed=True, score=0.4, reasons=()),
            Verdict(host="node2", allowed=False, score=None, reasons=(SHORT,)),
        ]
        return [verdict for verdict in verdicts if host in (None, verdict.host)]

    async def matrix(self, vm: str | None) -> Matrix:
        if vm == "ghost":
            raise ControlError("not_found", "there is no VM ghost")
        hosts = tuple(MatrixHost(name=host.name, state=host.state.value) for host in self.cluster.hosts)
        lacks = (Reason("cpu_missing", "CPU lacks aes, avx2", missing=["aes", "avx2"]),)
        pairs = (
            Pair(source="node1", destination="node2", possible=Possible.NO, missing=("aes", "avx2"), reasons=lacks),
            Pair(source="node2", destination="node1", possible=Possible.YES),
        )
        return Matrix(vm=vm, host="node1" if vm else None, hosts=hosts, pairs=pairs)

    async def baseline(self) -> Baseline:
        return Baseline(
            cpu_xml="<cpu mode='custom'/>",
            features=("sse4.2",),
            held_back_by=("node2",),
            hosts=(
                BaselineHost(name="node1", cpu_model="Haswell", loses=("aes", "avx2"), holds_back=()),
                BaselineHost(name="node2", cpu_model=None, loses=(), holds_back=("aes",)),
            ),
            left_out=(LeftOut(name="node3", reason=Reason("host_state", "the libvirt of node3 does not answer")),),
        )

    async def place(
        self, definitions: Sequence[str], *, host: str | None, dry_run: bool, requested_by: str
    ) -> list[PlacementRecord]:
        self.asked.append(("place", tuple(definitions), host, dry_run, requested_by))
        return [self._placed(f"new{number}") for number, _ in enumerate(definitions)]

    def widening(self, definitions: Sequence[str]) -> list[Reason]:
        return [Reason("reaches_into_host", f"{one}: of the host") for one in definitions if "hostdev" in one]

    async def start(
        self, vms: Sequence[str], *, host: str | None, dry_run: bool, requested_by: str
    ) -> list[PlacementRecord]:
        self.asked.append(("start", tuple(vms), host, dry_run, requested_by))
        return [self._placed(vm) for vm in vms]

    async def migrate(
        self, vms: Sequence[str], *, to: str | None, dry_run: bool, requested_by: str
    ) -> list[MigrationRecord]:
        self.asked.append(("migrate", tuple(vms), to, dry_run, requested_by))
        return [migration_record(3, vm=vm, state=MigrationState.QUEUED) for vm in vms]

    async def migrations(self, *, limit: int) -> list[MigrationRecord]:
        return self.records[:limit]

    async def migration(self, migration_id: int) -> MigrationRecord:
        for record in self.records:
            if record.id == migration_id:
                return record
        raise ControlError("not_found", f"there is no migration {migration_id}")

    async def abort(self, migration_id: int, *, requested_by: str) -> MigrationRecord:
        record = await self.migration(migration_id)
        if record.state.final:
            raise ControlError("conflict", f"migration {migration_id} has already ended")
        return replace(record, state=MigrationState.ABORTED)

    async def placements(self, *, limit: int) -> list[PlacementRecord]:
        return [self._placed("web1")][:limit]

    async def decisions(self, *, limit: int) -> list[Decision]:
        return [Decision(cycle="c1", at=100.0, sentence="nothing to do", kind="quiet")][:limit]

    async def decision(self, cycle: str) -> tuple[Decision, Doings]:
        for decision in await self.decisions(limit=100):
            if decision.cycle == cycle:
                migrations = tuple(record for record in self.records if record.cycle == cycle)
                recommended = (self.recommended,) if decision.kind == "recommend" else ()
                return decision, Doings(migrations=migrations, recommendations=recommended, snapshot_kept=cycle == "c1")
        raise ControlError("not_found", f"no decision of a cycle {cycle} is kept")

    async def decided_on(self, cycle: str) -> str:
        if cycle != "c1":
            raise ControlError("not_found", f"no snapshot of a cycle {cycle} is kept: only cycles that acted have one")
        return dump_snapshot(self.cluster)

    async def cordon(self, host: str, *, requested_by: str) -> HostStatus:
        return replace(self._host(host), state="maintenance", detail="cordoned")

    async def uncordon(self, host: str, *, requested_by: str) -> HostStatus:
        return replace(self._host(host), state="up", detail="")

    async def drain(self, host: str, *, dry_run: bool, requested_by: str) -> dict[str, object]:
        self.asked.append(("drain", host, dry_run, requested_by))
        if host == "node2":
            raise ControlError("refused", "web1 can go nowhere", [SHORT])
        return {"objective": "contention", "steps": []}

    async def recommendations(self) -> list[Recommendation]:
        return [self.recommended]

    async def approve(self, recommendation_id: int, *, requested_by: str) -> MigrationRecord:
        self._recommendation(recommendation_id)
        return migration_record(4, trigger=Trigger.RECOMMENDATION, requested_by=requested_by)

    async def dismiss(self, recommendation_id: int, *, requested_by: str) -> Recommendation:
        return replace(self._recommendation(recommendation_id), state=RecommendationState.DISMISSED)

    async def reload(self) -> str:
        raise ControlError("invalid", "config.toml: hosts[0].uri: missing")

    async def begin_request(self, request: RequestRecord) -> RequestRecord:
        self.requested.append(replace(request, id=len(self.requested) + 1, at=100.0))
        return self.requested[-1]

    async def end_request(self, request_id: int, outcome: str) -> None:
        self.requested[request_id - 1] = replace(self.requested[request_id - 1], outcome=outcome)

    async def requests(self, *, limit: int) -> list[RequestRecord]:
        return self.requested[::-1][:limit]

    async def notices(self, after: int | None) -> AsyncIterator[Notice]:
        seen = len(self._ring) if after is None else after
        while True:
            while seen < len(self._ring):
                seen += 1
                yield self._ring[seen - 1]
            self._grown.clear()
            await self._grown.wait()

    def notify(self, kind: str, text: str) -> None:
        """Something happens."""
        self._ring.append(Notice(id=len(self._ring) + 1, at=100.0, kind=kind, text=text, data={"vm": "web1"}))
        self._grown.set()

    def _host(self, name: str) -> HostStatus:
        for host in self.hosts():
            if host.name == name:
                return host
        raise ControlError("not_found", f"there is no host {name}")

    def _recommendation(self, recommendation_id: int) -> Recommendation:
        if recommendation_id != self.recommended.id:
            raise ControlError("not_found", f"there is no recommendation {recommendation_id}")
        return self.recommended

    def _placed(self, vm: str) -> PlacementRecord:
        return PlacementRecord(
            id=1,
            vm=vm,
            uuid="u-9",
            outcome=PlacementOutcome.STARTED,
            trigger=Trigger.MANUAL,
            at=100.0,
            host="node1",
            attempts=(Attempt(host="node1"),),
            ranking=({"host": "node1", "score": 0.4, "terms": {}},),
        )


class Client:
    """HTTP over the unix socket."""

    def __init__(self, path: Path) -> None:
        self.session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)), base_url="http://scheduler")

    async def call(self, method: str, path: str, **options: object) -> tuple[int, dict[str, object]]:
        """Status and JSON body."""
        async with self.session.request(method, path, **options) as response:  # type: ignore[arg-type]
            return response.status, await response.json()

    async def refused(self, method: str, path: str, **options: object) -> tuple[int, str, str]:
        """Status, code and message of a call that must fail."""
        status, body = await self.call(method, path, **options)
        assert status >= 400
        error = body["error"]
        assert isinstance(error, dict)
        return status, error["code"], error["message"]
