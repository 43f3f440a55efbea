"""LibvirtCluster on real hosts: what anyone does is seen, what hosts are and lack is known, VMs are carried over."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator

import pytest

from scheduler.cluster.model import VmState
from scheduler.cluster.observation import EventKind
from scheduler.cluster.ports import (
    HostAddress,
    MemoryPortError,
    MigrationOptions,
    PeerError,
    RefusedError,
    UnreachableError,
    UnsafeError,
)
from scheduler.lab.guest import HOST_MODEL, GuestSpec
from scheduler.lab.lab import Lab
from tests.unit.hypervisor.watched import Watched

pytestmark = pytest.mark.lab

SLOW = MigrationOptions(persistent=True, bandwidth_mib_per_s=5)
"""Takes some 15 s."""
LABELS = "<placement xmlns='urn:virt-scheduler:1' autostart='yes'><label name='tier' value='db'/></placement>"


@pytest.fixture
async def watched(clean_lab: Lab) -> AsyncIterator[Watched]:
    watched = Watched()
    for name, host in clean_lab.hosts.items():
        await watched.cluster.connect(
            HostAddress(name=name, uri=host.uri, peer_uri=host.peer_uri, migration_address=host.migration_address)
        )
        await watched.expect(EventKind.CONNECTED, 5, host=name)
    yield watched
    await watched.close()


async def virsh(lab: Lab, host: str, *arguments: str) -> None:
    """What anyone else does there."""
    process = await asyncio.create_subprocess_exec(
        "virsh", "-q", "-c", lab.hosts[host].uri, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


async def start(lab: Lab, watched: Watched, host: str, guest: GuestSpec, *, booted: bool = False) -> str:
    """Define and start a guest. While it boots it hardly lets its QEMU begin a migration: then wait for it."""
    uuid = await watched.cluster.define(host, lab.guest_xml(guest))
    await watched.cluster.start(host, uuid)
    await watched.expect(EventKind.STARTED, 2, host=host, uuid=uuid)
    if booted:
        await asyncio.to_thread(lab.wait_for_guest, guest.name)
    return uuid


async def test_what_anyone_does_with_virsh_is_seen_within_a_second(clean_lab: Lab, watched: Watched, tmp_path):
    cluster, xml = watched.cluster, tmp_path / "vm.xml"
    xml.write_text(clean_lab.guest_xml(GuestSpec("vm1", metadata=LABELS)))

    await virsh(clean_lab, "node1", "define", str(xml))
    uuid = (await watched.expect(EventKind.DEFINED, 1, host="node1", name="vm1")).uuid
    defined = await cluster.domain("node1", uuid)
    assert defined is not None
    assert (defined.state, defined.persistent, defined.cpu_time_ns) == (VmState.STOPPED, True, None)
    assert (defined.facts.labels, defined.facts.placement_autostart) == ({"tier": "db"}, True)
    assert (defined.facts.networks, defined.facts.blockers) == ({"bridge:br0"}, ())

    await virsh(clean_lab, "node1", "start", "vm1")
    await watched.expect(EventKind.STARTED, 1, uuid=uuid)
    first = (await cluster.observe("node1")).domains[0]
    assert (first.uuid, first.state) == (uuid, VmState.RUNNING)

    await virsh(clean_lab, "node1", "suspend", "vm1")
    await watched.expect(EventKind.SUSPENDED, 1, uuid=uuid)
    assert (await cluster.observe("node1")).domains[0].state is VmState.PAUSED
    await virsh(clean_lab, "node1", "resume", "vm1")
    await watched.expect(EventKind.RESUMED, 1, uuid=uuid, detail="unpaused")

    os.kill(clean_lab.hosts["node1"].guest_pids()[0], signal.SIGKILL)
    await watched.expect(EventKind.CRASHED, 1, uuid=uuid)
    assert (await cluster.observe("node1")).domains[0].state is VmState.STOPPED

    await virsh(clean_lab, "node1", "start", "vm1")
    await watched.expect(EventKind.STARTED, 1, uuid=uuid)
    second = (await cluster.observe("node1")).domains[0]
    assert second.domain_id != first.domain_id
    await asyncio.to_thread(clean_lab.wait_for_guest, "vm1")

    target = clean_lab.hosts["node2"]
    await virsh(
        clean_lab, "node1", "migrate", "--live", "--p2p", "--persistent", "--undefinesource",
        "vm1", target.peer_uri, f"tcp://{target.migration_address}",
    )  # fmt: skip
    await watched.expect(EventKind.MIGRATED_OUT, 1, host="node1", uuid=uuid)
    await watched.expect(EventKind.MIGRATED_IN, 1, host="node2", uuid=uuid)
    assert (await cluster.observe("node1")).domains == ()
    assert [domain.uuid for domain in (await cluster.observe("node2")).domains] == [uuid]

    await virsh(clean_lab, "node2", "destroy", "vm1")
    await watched.expect(EventKind.STOPPED, 3, host="node2", uuid=uuid, detail="destroyed")
    await virsh(clean_lab, "node2", "undefine", "vm1")
    await watched.expect(EventKind.UNDEFINED, 1, host="node2", uuid=uuid)
    assert (await cluster.observe("node2")).domains == ()


async def test_hosts_are_what_they_report(clean_lab: Lab, watched: Watched):
    await start(clean_lab, watched, "node1", GuestSpec("vm1"))
    await watched.cluster.observe("node1")  # from now on hosts are described for emulated guests
    for spec in clean_lab.spec.hosts:
        observation = await watched.cluster.observe(spec.name)
        facts = observation.facts
        assert (facts.cpus, facts.memory_mib, facts.cpu_model) == (spec.cpus, spec.memory_mib, spec.cpu_model)
        assert facts.networks is not None
        assert "bridge:br0" in facts.networks
        assert facts.machine_types is not None
        assert {"pc", "q35"} <= facts.machine_types
        assert observation.memory_available_mib is not None
        assert 0 < observation.memory_available_mib < spec.memory_mib
    old, new = [(await watched.cluster.observe(name)).facts.cpu_features for name in ("node1", "node3")]
    assert old is not None
    assert new is not None
    assert "avx2" in new - old


@pytest.mark.alone
async def test_counters_tell_load_and_contention(clean_lab: Lab, watched: Watched):
    uuid = await start(clean_lab, watched, "node2", GuestSpec("vm1", cpu_load=1.0))
    clean_lab.inject_load("node2", cpu_cores=0.5)
    await asyncio.sleep(4)
    before = await watched.cluster.observe("node2")
    await asyncio.sleep(3)
    after = await watched.cluster.observe("node2")
    elapsed_ns = (after.monotonic_s - before.monotonic_s) * 1e9

    def grown(name: str) -> float:
        return (getattr(after.domains[0], name) - getattr(before.domains[0], name)) / elapsed_ns

    assert after.domains[0].uuid == uuid
    assert 0.05 < grown("cpu_time_ns") < 1.2
    assert grown("vcpu_delay_ns") > 0.2  # it wants a whole core and gets part of one
    assert after.domains[0].memory_used_mib is not None
    assert 10 < after.domains[0].memory_used_mib <= 96
    assert None not in (before.cpu_busy_ns, after.cpu_busy_ns)
    busy_cores = (after.cpu_busy_ns - before.cpu_busy_ns) / elapsed_ns
    assert busy_cores > 0.8 * clean_lab.hosts["node2"].spec.cpu_quota_cores


async def test_what_a_cpu_lacks_is_named_by_the_destination(clean_lab: Lab, watched: Watched):
    cluster, facts = watched.cluster, {}
    for host in clean_lab.hosts:
        uuid = await start(clean_lab, watched, host, GuestSpec(f"vm-{host}", cpu=HOST_MODEL))
        observed = await cluster.domain(host, uuid)
        assert observed is not None
        facts[host] = observed.facts

    for host in facts:
        await cluster.observe(host)  # now all hosts have met guests of this kind, and are described for it
    for older, newer in (("node1", "node2"), ("node1", "node3"), ("node2", "node3")):
        assert (await cluster.compare_cpu(newer, facts[older])).lacks == frozenset()
    for host, own in facts.items():
        assert (await cluster.compare_cpu(host, own)).lacks == frozenset()
        assert own.required_cpu_features is not None
        host_features = (await cluster.observe(host)).facts.cpu_features
        assert host_features is not None
        assert own.required_cpu_features <= host_features
    on_oldest = (await cluster.compare_cpu("node1", facts["node3"])).lacks
    assert on_oldest is not None
    assert {"avx2", "aes", "bmi2", "fma"} <= on_oldest
    on_middle = (await cluster.compare_cpu("node2", facts["node3"])).lacks
    assert on_middle is not None
    assert "avx2" in on_middle
    assert "aes" not in on_middle
    assert (await cluster.compare_cpu("node1", facts["node2"])).lacks == {"aes"}


async def test_a_guest_with_its_host_s_own_cpu_needs_an_identical_one(clean_lab: Lab, watched: Watched):
    xml = clean_lab.guest_xml(GuestSpec("vm1", cpu=HOST_MODEL))
    passthrough = xml.replace("<cpu mode='host-model' check='partial'/>", "<cpu mode='maximum'/>")
    assert passthrough != xml
    uuid = await watched.cluster.define("node2", passthrough)
    stopped = await watched.cluster.domain("node2", uuid)
    assert stopped is not None
    assert (await watched.cluster.compare_cpu("node1", stopped.facts)).lacks == frozenset()
    await watched.cluster.start("node2", uuid)
    running = await watched.cluster.domain("node2", uuid)
    assert running is not None
    assert (await watched.cluster.compare_cpu("node2", running.facts)).lacks == frozenset()
    for unlike in ("node1", "node3"):
        assert (await watched.cluster.compare_cpu(unlike, running.facts)).lacks


async def test_a_migration_is_followed_aborted_and_made(clean_lab: Lab, watched: Watched):
    cluster = watched.cluster
    uuid = await start(clean_lab, watched, "node1", GuestSpec("vm1"), booted=True)
    assert await cluster.job("node1", uuid) is None

    migrating = asyncio.create_task(cluster.migrate(uuid, "node1", "node2", SLOW))
    await watched.expect(EventKind.MIGRATION_ITERATION, 10, host="node1", uuid=uuid)
    await asyncio.sleep(0.5)
    job = await cluster.job("node1", uuid)
    assert job is not None
    assert job.outgoing
    assert job.elapsed_ms > 0
    assert job.total_bytes is not None
    assert job.remaining_bytes is not None
    assert 0 < job.remaining_bytes <= job.total_bytes
    assert job.downtime_ms == SLOW.max_downtime_ms
    receiving = await cluster.job("node2", uuid)
    assert receiving is not None
    assert not receiving.outgoing
    assert [(domain.uuid, domain.incoming) for domain in (await cluster.observe("node1")).domains] == [(uuid, False)]
    assert [(domain.uuid, domain.incoming) for domain in (await cluster.observe("node2")).domains] == [(uuid, True)]

    await cluster.abort_job("node1", uuid)
    with pytest.raises(RefusedError, match="cancel"):
        await migrating
    await watched.expect(EventKind.STOPPED, 3, host="node2", uuid=uuid, detail="incoming migration given up")
    still = await cluster.domain("node1", uuid)
    assert still is not None
    assert (still.state, still.persistent) == (VmState.RUNNING, True)
    assert await cluster.domain("node2", uuid) is None
    with pytest.raises(RefusedError):
        await cluster.abort_job("node1", uuid)

    await cluster.migrate(uuid, "node1", "node2", MigrationOptions(persistent=True))
    completed = await watched.expect(EventKind.JOB_COMPLETED, 1, host="node1", uuid=uuid)
    assert completed.stats is not None
    assert int(completed.stats["downtime"]) > 0
    await watched.expect(EventKind.MIGRATED_IN, 1, host="node2", uuid=uuid)
    assert await cluster.domain("node1", uuid) is None
    moved = await cluster.domain("node2", uuid)
    assert moved is not None
    assert (moved.state, moved.persistent, moved.incoming) == (VmState.RUNNING, True, False)


async def test_a_probe_really_connects_and_leaves_no_trace(clean_lab: Lab, watched: Watched, tmp_path):
    cluster = watched.cluster
    disk = tmp_path / "local.img"
    disk.write_bytes(bytes(1 << 20))
    with_disk = (
        f"<devices><disk type='file' device='disk'><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>"
    )
    xml = clean_lab.guest_xml(GuestSpec("vm1")).replace("<devices>", with_disk)
    local = await cluster.define("node1", xml)
    await cluster.start("node1", local)
    uuid = await start(clean_lab, watched, "node1", GuestSpec("vm2"))
    before = await cluster.domain("node1", uuid)
    seen = len(watched.seen)
    await cluster.probe_migration(uuid, "node1", "node2")
    with pytest.raises(UnsafeError, match="without shared storage"):
        await cluster.probe_migration(local, "node1", "node2")
    after = await cluster.domain("node1", uuid)
    assert before is not None
    assert after is not None
    assert (after.state, after.domain_id, await cluster.job("node1", uuid)) == (VmState.RUNNING, before.domain_id, None)
    assert await cluster.domain("node2", uuid) is None
    assert len(watched.seen) == seen

    await cluster.define("node1", clean_lab.guest_xml(GuestSpec("stopped")))
    clean_lab.fail_migrations("node3")
    with pytest.raises(MemoryPortError, match=r"node1: .*:49152"):
        await cluster.probe_memory_port("node1", "node3")
    assert await cluster.probe_memory_port("node1", "node2")
    assert not await cluster.probe_memory_port("node2", "node1")  # has no stopped domain to try it with
    target = clean_lab.hosts["node3"]
    # Its root has no certificate to show.
    await cluster.connect(HostAddress(name="tls", uri=target.uri, peer_uri=f"qemu+tls://{target.address}/system"))
    with pytest.raises(PeerError, match="certificate"):
        await cluster.probe_migration(uuid, "node1", "tls")

    clean_lab.hosts["node2"].stop_libvirtd()
    await watched.expect(EventKind.DISCONNECTED, 2, host="node2")
    with pytest.raises(PeerError, match=r"node1: .*refused"):
        await cluster.probe_migration(uuid, "node1", "node2")
    clean_lab.hosts["node2"].start_libvirtd()
    await watched.expect(EventKind.CONNECTED, 20, host="node2")


async def test_a_migration_goes_on_when_nobody_waits_for_it(clean_lab: Lab, watched: Watched):
    uuid = await start(clean_lab, watched, "node1", GuestSpec("vm1"), booted=True)
    migrating = asyncio.create_task(watched.cluster.migrate(uuid, "node1", "node2", MigrationOptions(persistent=True)))
    await watched.expect(EventKind.CHANGED, 10, host="node2", uuid=uuid, detail="migration coming in")
    started = time.monotonic()
    migrating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await migrating
    assert time.monotonic() - started < 0.5
    await watched.expect(EventKind.MIGRATED_IN, 20, host="node2", uuid=uuid)
    moved = await watched.cluster.domain("node2", uuid)
    assert moved is not None
    assert moved.state is VmState.RUNNING


async def test_a_destination_that_cannot_be_reached_is_no_fault_of_the_source(clean_lab: Lab, watched: Watched):
    uuid = await start(clean_lab, watched, "node1", GuestSpec("vm1"))
    clean_lab.hosts["node2"].stop_libvirtd()
    await watched.expect(EventKind.DISCONNECTED, 2, host="node2")
    with pytest.raises(RefusedError, match=r"node1: .*refused"):
        await watched.cluster.migrate(uuid, "node1", "node2", MigrationOptions(persistent=True))
    assert (await watched.cluster.observe("node1")).domains[0].state is VmState.RUNNING
    clean_lab.hosts["node2"].start_libvirtd()
    await watched.expect(EventKind.CONNECTED, 20, host="node2")


async def test_a_source_killed_in_the_middle_is_unreachable_and_shows_the_truth_when_back(
    clean_lab: Lab, watched: Watched
):
    uuid = await start(clean_lab, watched, "node1", GuestSpec("vm1"), booted=True)
    before = await watched.cluster.domain("node1", uuid)
    migrating = asyncio.create_task(watched.cluster.migrate(uuid, "node1", "node2", SLOW))
    await watched.expect(EventKind.MIGRATION_ITERATION, 10, host="node1", uuid=uuid)
    clean_lab.hosts["node1"].kill_libvirtd()
    with pytest.raises(UnreachableError):
        await migrating
    await watched.expect(EventKind.DISCONNECTED, 2, host="node1")
    clean_lab.hosts["node1"].start_libvirtd()
    await watched.expect(EventKind.CONNECTED, 20, host="node1")
    after = await watched.cluster.domain("node1", uuid)
    assert before is not None
    assert after is not None
    assert (after.state, after.domain_id) == (VmState.RUNNING, before.domain_id)
    assert await watched.cluster.job("node1", uuid) is None


async def test_a_frozen_host_is_lost_in_15_s_and_delays_no_other(clean_lab: Lab, watched: Watched):
    uuid = await start(clean_lab, watched, "node1", GuestSpec("vm1"))
    clean_lab.hosts["node1"].freeze_libvirtd()
    frozen_at, slowest_s = time.monotonic(), 0.0
    while not any(event.kind is EventKind.DISCONNECTED for event in watched.seen):
        assert time.monotonic() - frozen_at < 15
        asked_at = time.monotonic()
        await asyncio.gather(watched.cluster.observe("node2"), watched.cluster.observe("node3"))
        slowest_s = max(slowest_s, time.monotonic() - asked_at)
        await asyncio.sleep(0.2)
    assert slowest_s < 1
    with pytest.raises(UnreachableError):
        await watched.cluster.observe("node1")
    clean_lab.hosts["node1"].thaw_libvirtd()
    await watched.expect(EventKind.CONNECTED, 20, host="node1")
    assert [domain.uuid for domain in (await watched.cluster.observe("node1")).domains] == [uuid]


@pytest.mark.alone
async def test_how_much_memory_a_guest_writes_is_told_of_its_pages(clean_lab: Lab, watched: Watched):
    busy = await start(clean_lab, watched, "node1", GuestSpec("vm1", dirty_mib_per_s=20), booted=True)
    idle = await start(clean_lab, watched, "node1", GuestSpec("vm2"), booted=True)
    await asyncio.sleep(2)
    # A page in 256 or so is looked at, and others use the machine: only the median of some samples is told from noise.
    rates = {
        uuid: sorted([await watched.cluster.sample_dirty_rate("node1", uuid) for _ in range(5)])
        for uuid in (busy, idle)
    }
    assert rates[idle][2] <= 4 < rates[busy][2]
