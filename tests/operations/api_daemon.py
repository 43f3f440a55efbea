"""The real daemon on three simulated hosts, its API served over TLS with tokens, in real time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

from scheduler.cluster.observation import DomainFacts, HostFacts
from scheduler.config.loading import load
from scheduler.daemon.daemon import Daemon
from scheduler.daemon.waiting import end
from scheduler.operations.access import Role, hash_of_token
from scheduler.operations.clock import SystemClock
from scheduler.operations.journal import Journal
from scheduler.operations.records import Recommendation, Trigger
from scheduler.simulation.cluster import SimulatedCluster
from scheduler.web.app import create_app
from scheduler.web.limits import ApiLimits
from scheduler.web.server import serve_api
from scheduler.web.tls import TlsFiles
from tests.unit.web.pki import Authority

HOSTS = ("node1", "node2", "node3")
UNHURRIED = ApiLimits(
    calls_per_second=1e6, calls_at_once=10**6, failed_logins_per_second=1e6, failed_logins_at_once=10**6, streams=1000
)
"""What a caller has to wait for is another test's."""
RECOMMENDATION = Recommendation(
    id=0,
    vm="web1",
    uuid=str(uuid5(NAMESPACE_OID, "web1")),
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


@dataclass(frozen=True)
class Served:
    """Where it answers, and what it is made of. The token of each role is `tokens[role]`."""

    url: str
    tokens: dict[Role, str]
    authority: Authority
    daemon: Daemon
    cluster: SimulatedCluster
    journal: Journal
    directory: Path


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[Served]:
    """On each host a VM that runs and one that is stopped; two recommendations. Nothing comes round by itself."""
    clock = SystemClock()
    cluster = SimulatedCluster(clock.monotonic, clock.sleep)
    for number, name in enumerate(HOSTS, start=1):
        cluster.add_host(name, HostFacts(cpus=8, memory_mib=16384, cpu_features=frozenset({"sse"})))
        cluster.add_vm(name, f"web{number}", DomainFacts(vcpus=2, memory_mib=1024))
        cluster.add_vm(name, f"off{number}", DomainFacts(vcpus=2, memory_mib=1024), running=False)
    tokens = {role: f"the-secret-of-{role.value}" for role in Role}
    path = directory / "config.toml"
    path.write_text(_config(tokens))
    journal = await Journal.open(":memory:")
    daemon = Daemon(load(path), path, cluster, journal, clock)
    events = asyncio.create_task(daemon.follow_events())
    await daemon.start()
    await daemon.cycle.once()
    for _ in range(2):
        await journal.add_recommendation(RECOMMENDATION)
    authority = Authority(directory / "pki")
    certificate, key = authority.server()
    files = TlsFiles(host="127.0.0.1", port=0, certificate=certificate, key=key)
    app = create_app(daemon.service, access=lambda: daemon.access, limits=UNHURRIED)
    try:
        async with serve_api(app, directory / "api.sock", tls=files) as address:
            assert address is not None
            url = f"https://{address[0]}:{address[1]}"
            yield Served(url, tokens, authority, daemon, cluster, journal, directory)
    finally:
        await end(events)
        await daemon.stop()
        await journal.close()


def _config(tokens: dict[Role, str]) -> str:
    roles = "".join(
        f'[[api.tokens]]\nname = "{role.value}"\nrole = "{role.value}"\nhash = "{hash_of_token(token)}"\n'
        for role, token in tokens.items()
    )
    hosts = "".join(f'[[hosts]]\nname = "{name}"\nuri = "qemu+tls://{name}/system"\n' for name in HOSTS)
    return f'mode = "recommend"\n{roles}{hosts}'
