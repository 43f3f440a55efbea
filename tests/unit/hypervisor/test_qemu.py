"""Real QEMU without root: guests that never get beyond their firmware, between two libvirtds of one user."""

from pathlib import Path

import pytest

from scheduler.cluster.model import VmState
from scheduler.cluster.observation import EventKind
from scheduler.cluster.ports import MigrationOptions, RefusedError

XML = """<domain type='qemu'><name>vm1</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><cpu mode='host-model'/>
<devices><controller type='usb' model='none'/><memballoon model='virtio'/></devices></domain>"""


@pytest.fixture
async def hosts(qemu_installed, new_libvirtd, watched):
    made = [new_libvirtd("node1"), new_libvirtd("node2")]
    for libvirtd in made:
        await watched.cluster.connect(libvirtd.address("qemu"))
        await watched.expect(EventKind.CONNECTED, 10, host=libvirtd.name)
    return made


async def test_a_guest_lives_moves_and_ends(hosts, watched):
    cluster = watched.cluster
    uuid = await cluster.define("node1", XML)
    await cluster.start("node1", uuid)
    await watched.expect(EventKind.STARTED, 1, host="node1", uuid=uuid)
    running = (await cluster.observe("node1")).domains[0]
    assert (running.state, running.facts.virt_type) == (VmState.RUNNING, "qemu")
    assert running.cpu_time_ns is not None
    assert running.memory_used_mib is not None
    assert (await cluster.compare_cpu("node2", running.facts)).lacks == frozenset()
    assert "host-model" in await cluster.domain_xml("node1", uuid)

    await cluster.migrate(uuid, "node1", "node2", MigrationOptions(persistent=True))
    await watched.expect(EventKind.MIGRATED_IN, 2, host="node2", uuid=uuid)
    await watched.expect(EventKind.JOB_COMPLETED, 2, host="node1", uuid=uuid)
    assert await cluster.domain("node1", uuid) is None
    moved = await cluster.domain("node2", uuid)
    assert moved is not None
    assert (moved.state, moved.persistent, moved.incoming) == (VmState.RUNNING, True, False)

    with pytest.raises(RefusedError, match="vm1 is running"):
        await cluster.undefine("node2", uuid)
    await hosts[1].virsh("qemu", "destroy", "vm1")
    await watched.expect(EventKind.STOPPED, 3, host="node2", uuid=uuid)
    await cluster.undefine("node2", uuid)
    await watched.expect(EventKind.UNDEFINED, 1, host="node2", uuid=uuid)


async def test_a_killed_qemu_is_a_crash_and_its_counters_end(hosts, watched):
    uuid = await watched.cluster.define("node1", XML)
    await watched.cluster.start("node1", uuid)
    await watched.expect(EventKind.STARTED, 1, uuid=uuid)
    pid = int(next(Path(hosts[0].directory, "run").rglob("vm1.pid")).read_text())
    hosts[0].kill_guest(pid)
    await watched.expect(EventKind.CRASHED, 1, uuid=uuid)
    stopped = (await watched.cluster.observe("node1")).domains[0]
    assert (stopped.state, stopped.domain_id, stopped.cpu_time_ns) == (VmState.STOPPED, None, None)
