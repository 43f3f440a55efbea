"""The cluster in memory behaves as libvirt was seen to."""

import asyncio
from contextlib import suppress

import pytest
import pytest_asyncio

from scheduler.cluster.model import VmState
from scheduler.cluster.observation import DomainFacts, EventKind, HostFacts
from scheduler.cluster.ports import (
    BusyError,
    HostAddress,
    HypervisorCluster,
    MigrationOptions,
    NotFoundError,
    RefusedError,
    UnreachableError,
)
from scheduler.simulation.clock import ManualClock
from scheduler.simulation.cluster import SimulatedCluster

OPTIONS = MigrationOptions(persistent=True)
FACTS = DomainFacts(vcpus=2, memory_mib=1000, required_cpu_features=frozenset({"avx2"}))


@pytest.fixture
def clock():
    return ManualClock()


@pytest_asyncio.fixture
async def cluster(clock):
    cluster = SimulatedCluster(clock.monotonic, clock.sleep)
    cluster.add_host("node1", HostFacts(cpus=2, memory_mib=8192, cpu_features=frozenset({"avx2"})))
    cluster.add_host("node2", HostFacts(cpus=2, memory_mib=8192, cpu_features=frozenset({"aes"})))
    return cluster


async def begin(cluster, clock, uuid):
    migrating = asyncio.create_task(cluster.migrate(uuid, "node1", "node2", OPTIONS))
    await clock.advance(1.0)
    return migrating


def test_it_is_a_hypervisor_cluster(clock):
    cluster: HypervisorCluster = SimulatedCluster(clock.monotonic, clock.sleep)
    assert cluster.read_definition("<domain><name>a</name><memory>1024</memory></domain>").name == "a"


async def test_a_migration_tells_the_events_of_libvirt_in_its_order(cluster, clock):
    uuid = cluster.add_vm("node1", "web", FACTS)
    cluster.guest(uuid).dirty_mib_per_s = 10.0
    del cluster.history[:]
    await clock.run(cluster.migrate(uuid, "node1", "node2", OPTIONS))
    assert [(event.host, event.kind.value, event.detail) for event in cluster.history] == [
        ("node2", "changed", "migration coming in"),
        ("node1", "migration_iteration", "1"),
        ("node1", "migration_iteration", "2"),
        ("node1", "suspended", "migrating"),
        ("node2", "defined", "added"),
        ("node2", "migrated_in", "migrated"),
        ("node1", "migrated_out", "migrated"),
        ("node1", "job_completed", ""),
    ]
    assert cluster.history[-1].stats["time_elapsed"] == pytest.approx(11_300, abs=1)


async def test_events_reach_their_consumer_from_the_call_on(cluster, clock):
    cluster.add_vm("node1", "before", FACTS)
    events = cluster.events()
    uuid = cluster.add_vm("node1", "web", FACTS, running=False)
    event = await anext(events)
    assert (event.kind, event.uuid, event.name) == (EventKind.DEFINED, uuid, "web")


async def test_both_halves_are_seen_while_it_migrates(cluster, clock):
    uuid = cluster.add_vm("node1", "web", FACTS)
    migrating = await begin(cluster, clock, uuid)
    leaving, arriving = await cluster.domain("node1", uuid), await cluster.domain("node2", uuid)
    assert (leaving.state, leaving.incoming) == (VmState.RUNNING, False)
    assert (arriving.state, arriving.incoming, arriving.persistent) == (VmState.PAUSED, True, False)
    job = await cluster.job("node1", uuid)
    assert (job.outgoing, job.elapsed_ms, job.remaining_bytes) == (True, 1000, 920 * 1024 * 1024)
    assert not (await cluster.job("node2", uuid)).outgoing
    with pytest.raises(BusyError):
        await cluster.migrate(uuid, "node1", "node2", OPTIONS)
    await clock.run(migrating)
    assert await cluster.job("node1", uuid) is None


async def test_who_waits_no_more_does_not_stop_it(cluster, clock):
    uuid = cluster.add_vm("node1", "web", FACTS)
    migrating = await begin(cluster, clock, uuid)
    migrating.cancel()
    with suppress(asyncio.CancelledError):
        await migrating
    await clock.advance(60.0)
    assert cluster.running_on(uuid) == ["node2"]


async def test_an_abort_leaves_it_where_it_was(cluster, clock):
    uuid = cluster.add_vm("node1", "web", FACTS)
    migrating = await begin(cluster, clock, uuid)
    await cluster.abort_job("node1", uuid)
    with pytest.raises(RefusedError, match="canceled"):
        await clock.run(migrating)
    assert cluster.running_on(uuid) == ["node1"]
    assert await cluster.domain("node2", uuid) is None
    with pytest.raises(RefusedError, match="no job"):
        await cluster.abort_job("node1", uuid)


async def test_cpu_is_shared_in_proportion_and_the_rest_is_delay(cluster, clock):
    busy = cluster.add_vm("node1", "busy", DomainFacts(vcpus=4, memory_mib=100))
    calm = cluster.add_vm("node1", "calm", DomainFacts(vcpus=2, memory_mib=100))
    cluster.set_demand(busy, 3.0)
    cluster.set_demand(calm, 1.0)
    await clock.advance(10.0)
    seen = {domain.name: domain for domain in (await cluster.observe("node1")).domains}
    assert (seen["busy"].cpu_time_ns, seen["busy"].vcpu_delay_ns) == (15_000_000_000, 15_000_000_000)
    assert (seen["calm"].cpu_time_ns, seen["calm"].vcpu_delay_ns) == (5_000_000_000, 5_000_000_000)
    host = await cluster.observe("node1")
    assert host.cpu_busy_ns == 20_000_000_000


async def test_counters_begin_anew_with_each_process(cluster, clock):
    uuid = cluster.add_vm("node1", "web", FACTS)
    cluster.set_demand(uuid, 1.0)
    await clock.advance(10.0)
    before = await cluster.domain("node1", uuid)
    await clock.run(cluster.migrate(uuid, "node1", "node2", OPTIONS))
    assert before.cpu_time_ns == 10_000_000_000
    assert (await cluster.domain("node2", uuid)).cpu_time_ns == 0


async def test_what_a_cpu_lacks_is_named_or_unknown(cluster):
    assert (await cluster.compare_cpu("node1", FACTS)).lacks == frozenset()
    assert (await cluster.compare_cpu("node2", FACTS)).lacks == {"avx2"}
    cluster.host("node2").cpu_verdict_unknown = True
    assert (await cluster.compare_cpu("node2", FACTS)).lacks is None


async def test_a_cut_host_is_unreachable_and_its_migrations_go_on(cluster, clock):
    uuid = cluster.add_vm("node1", "web", FACTS)
    migrating = await begin(cluster, clock, uuid)
    cluster.cut("node1")
    with pytest.raises(UnreachableError):
        await cluster.observe("node1")
    with pytest.raises(UnreachableError):
        await clock.run(migrating)
    assert cluster.running_on(uuid) == ["node2"]
    cluster.restore("node1")
    assert (await cluster.observe("node1")).domains == ()


async def test_a_frozen_host_answers_nothing_for_as_long_as_one_waits(cluster, clock):
    cluster.host("node1").frozen = True
    with pytest.raises(UnreachableError, match="no answer"):
        await clock.run(cluster.observe("node1"))
    assert clock.monotonic() == 10.0


async def test_definitions_and_states(cluster):
    uuid = await cluster.define("node1", "<domain><name>a</name><memory unit='MiB'>64</memory></domain>")
    with pytest.raises(RefusedError, match="already exists"):
        await cluster.define(
            "node1",
            "<domain><name>a</name><uuid>11111111-2222-4333-8444-555555555555</uuid><memory>9</memory></domain>",
        )
    await cluster.start("node1", uuid)
    for refused in (cluster.start("node1", uuid), cluster.undefine("node1", uuid)):
        with pytest.raises(RefusedError):
            await refused
    cluster.end_guest("node1", uuid)
    await cluster.set_autostart("node1", uuid, autostart=True)
    assert (await cluster.domain("node1", uuid)).autostart
    await cluster.undefine("node1", uuid)
    with pytest.raises(NotFoundError):
        await cluster.domain_xml("node1", uuid)


async def test_connections_are_told_and_an_unknown_host_is_unreachable(cluster):
    events = cluster.events()
    await cluster.disconnect("node1")
    with pytest.raises(UnreachableError):
        await cluster.observe("node1")
    await cluster.connect(HostAddress(name="node1", uri="", peer_uri=""))
    assert (await anext(events)).kind is EventKind.CONNECTED
    await cluster.connect(HostAddress(name="node9", uri="", peer_uri=""))
    with pytest.raises(UnreachableError):
        await cluster.observe("node9")
