"""The API beside its own description: schemathesis asks a live daemon, over TLS with a token, all that it can think of.

The daemon is the real one, on simulated hosts; the answers are held to the OpenAPI document that it serves itself.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import pytest

from scheduler.cluster.observation import DomainFacts, HostFacts
from scheduler.config.loading import load
from scheduler.daemon.daemon import Daemon
from scheduler.daemon.waiting import end
from scheduler.operations.access import hash_of_token
from scheduler.operations.clock import SystemClock
from scheduler.operations.journal import Journal
from scheduler.operations.records import Recommendation, Trigger
from scheduler.simulation.cluster import SimulatedCluster
from scheduler.web.app import create_app
from scheduler.web.limits import ApiLimits
from scheduler.web.server import serve_api
from scheduler.web.tls import TlsFiles
from tests.unit.web.pki import Authority

ROOT = Path(__file__).parents[2]
SETTINGS = Path(__file__).with_name("schemathesis.toml")
HOSTS = ("node1", "node2", "node3")
TOKEN = "all-that-there-is"  # noqa: S105 - of this test alone
CONFIG = f"""
mode = "recommend"
[[api.tokens]]
name = "fuzz"
role = "admin"
hash = "{hash_of_token(TOKEN)}"
"""
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


async def chatter(daemon: Daemon) -> None:
    """Something happens all the time, so that nobody waits for it at the event stream."""
    while True:
        daemon.notices.publish("host", "node1 answers", host="node1", reachable=True)
        await asyncio.sleep(0.02)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    """Three hosts with two VMs each, one of them stopped; nothing comes round by itself."""
    clock = SystemClock()
    cluster = SimulatedCluster(clock.monotonic, clock.sleep)
    for name in HOSTS:
        cluster.add_host(name, HostFacts(cpus=8, memory_mib=16384, cpu_features=frozenset({"sse"})))
        cluster.add_vm(name, f"web{name[-1]}", DomainFacts(vcpus=2, memory_mib=1024))
        cluster.add_vm(name, f"off{name[-1]}", DomainFacts(vcpus=2, memory_mib=1024), running=False)
    path = tmp_path / "config.toml"
    tables = "".join(f'[[hosts]]\nname = "{name}"\nuri = "qemu+tls://{name}/system"\n' for name in HOSTS)
    path.write_text(CONFIG + tables)
    journal = await Journal.open(":memory:")
    daemon = Daemon(load(path), path, cluster, journal, clock)
    tasks = [asyncio.create_task(daemon.follow_events()), asyncio.create_task(chatter(daemon))]
    await daemon.start()
    await daemon.cycle.once()
    for _ in range(2):
        await journal.add_recommendation(RECOMMENDATION)
    yield daemon
    await end(*tasks)
    await daemon.stop()
    await journal.close()


async def test_every_answer_is_as_the_openapi_document_says(daemon: Daemon, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    certificate, key = authority.server()
    files = TlsFiles(host="127.0.0.1", port=0, certificate=certificate, key=key)
    app = create_app(daemon.service, access=lambda: daemon.access, limits=UNHURRIED)
    async with serve_api(app, tmp_path / "api.sock", tls=files) as address:
        assert address is not None
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", f"--config-file={SETTINGS}", "run",
            f"--header=Authorization: Bearer {TOKEN}", f"--tls-verify={authority.ca}", "--no-color",
            f"https://{address[0]}:{address[1]}/v1/openapi.json",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
