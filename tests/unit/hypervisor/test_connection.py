"""Real RPC to a real libvirtd with its test driver: events, faults, the way back."""

import asyncio
import signal
import threading
import time
from pathlib import Path

import pytest

from scheduler.cluster.model import VmState
from scheduler.cluster.observation import EventKind
from scheduler.cluster.ports import HostAddress, NotFoundError, RefusedError, UnreachableError
from scheduler.hypervisor.cluster import LibvirtCluster

TEST_XML = """
<domain type='test'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>2</vcpu>
<os><type arch='i686'>hvm</type></os></domain>"""


async def test_what_anyone_does_with_virsh_is_an_event_within_a_second(libvirtd, watched, tmp_path):
    await watched.cluster.connect(libvirtd.address())
    await watched.expect(EventKind.CONNECTED, 5)
    xml = tmp_path / "vm.xml"
    xml.write_text(TEST_XML.format(name="vm1"))

    await libvirtd.virsh("test", "define", str(xml))
    await watched.expect(EventKind.DEFINED, 1, host="node1", name="vm1")
    await libvirtd.virsh("test", "start", "vm1")
    await watched.expect(EventKind.STARTED, 1, name="vm1", detail="booted")
    await libvirtd.virsh("test", "suspend", "vm1")
    await watched.expect(EventKind.SUSPENDED, 1, name="vm1", detail="paused")
    await libvirtd.virsh("test", "resume", "vm1")
    await watched.expect(EventKind.RESUMED, 1, name="vm1")
    await libvirtd.virsh("test", "destroy", "vm1")
    await watched.expect(EventKind.STOPPED, 1, name="vm1", detail="destroyed")
    await libvirtd.virsh("test", "undefine", "vm1")
    await watched.expect(EventKind.UNDEFINED, 1, name="vm1")


async def test_every_look_shows_the_state_of_now(libvirtd, watched):
    await watched.cluster.connect(libvirtd.address())
    await watched.expect(EventKind.CONNECTED, 5)
    before = await watched.cluster.observe("node1")
    assert [(domain.name, domain.state) for domain in before.domains] == [("test", VmState.RUNNING)]

    uuid = await watched.cluster.define("node1", TEST_XML.format(name="vm1"))
    stopped = {domain.name: domain for domain in (await watched.cluster.observe("node1")).domains}["vm1"]
    assert (stopped.uuid, stopped.state, stopped.persistent, stopped.domain_id) == (uuid, VmState.STOPPED, True, None)
    assert (stopped.facts.vcpus, stopped.facts.memory_mib) == (2, 64)

    await watched.cluster.start("node1", uuid)
    await watched.cluster.set_autostart("node1", uuid, autostart=True)
    running = await watched.cluster.domain("node1", uuid)
    assert running is not None
    assert (running.state, running.autostart) == (VmState.RUNNING, True)
    assert running.domain_id is not None


async def test_counters_that_the_host_does_not_tell_are_none(libvirtd, watched):
    """The test driver tells of no domain's CPU and memory, and not of the host's memory."""
    await watched.cluster.connect(libvirtd.address())
    await watched.expect(EventKind.CONNECTED, 5)
    observation = await watched.cluster.observe("node1")
    domain = observation.domains[0]
    assert (domain.cpu_time_ns, domain.vcpu_delay_ns, domain.memory_used_mib) == (None, None, None)
    assert observation.memory_available_mib is None
    assert observation.cpu_busy_ns is not None
    assert observation.facts.cpu_features is None
    assert observation.facts.networks == {"network:default", "bridge:eth1"}
    assert observation.facts.storage == {"default-pool", "/default-pool"}


async def test_changed_metadata_is_read_anew(libvirtd, watched):
    await watched.cluster.connect(libvirtd.address())
    await watched.expect(EventKind.CONNECTED, 5)
    await watched.cluster.observe("node1")
    await libvirtd.virsh(
        "test", "metadata", "test", "--uri", "urn:virt-scheduler:1", "--key", "vs", "--live", "--set",
        "<placement><label name='tier' value='db'/></placement>",
    )  # fmt: skip
    await watched.expect(EventKind.CHANGED, 1, name="test", detail="metadata")
    observation = await watched.cluster.observe("node1")
    assert observation.domains[0].facts.labels == {"tier": "db"}


async def test_refusals_are_told_apart(libvirtd, watched):
    await watched.cluster.connect(libvirtd.address())
    await watched.expect(EventKind.CONNECTED, 5)
    running = (await watched.cluster.observe("node1")).domains[0].uuid
    nowhere = "00000000-0000-4000-8000-000000000000"
    assert await watched.cluster.domain("node1", nowhere) is None
    with pytest.raises(NotFoundError, match="node1: Domain not found"):
        await watched.cluster.start("node1", nowhere)
    with pytest.raises(RefusedError, match="running"):
        await watched.cluster.undefine("node1", running)
    with pytest.raises(RefusedError, match="node1: "):
        await watched.cluster.define("node1", "<domain/>")
    with pytest.raises(UnreachableError, match="not a host of this cluster"):
        await watched.cluster.observe("node9")


async def test_no_connection_is_used_by_two_threads(libvirtd, watched):
    """Several waiting on one connection kill the process when it breaks: libvirt before 10.4 (CVE-2024-4418)."""
    await watched.cluster.connect(libvirtd.address())
    await watched.expect(EventKind.CONNECTED, 5)
    session = watched.cluster._session("node1")

    def note(connection: object) -> tuple[int, int]:
        time.sleep(0.01)  # so that the calls come at the same time
        return id(connection), threading.get_ident()

    calls = [session.host_call, session.domain_call, session.domain_call] * 4
    used = set(await asyncio.gather(*(call(note) for call in calls)))
    connections, threads = {connection for connection, _ in used}, {thread for _, thread in used}
    assert len(used) == len(connections) == len(threads) == 3


async def test_a_host_that_breaks_off_while_many_ask_is_met_again(libvirtd, watched):
    await watched.cluster.connect(libvirtd.address())
    for _ in range(5):
        await watched.expect(EventKind.CONNECTED, 16)
        uuid = (await watched.cluster.observe("node1")).domains[0].uuid
        libvirtd.signal(signal.SIGSTOP)
        hanging = [asyncio.create_task(watched.cluster.observe("node1")) for _ in range(3)]
        hanging += [asyncio.create_task(watched.cluster.domain("node1", uuid)) for _ in range(3)]
        await asyncio.sleep(0.1)
        libvirtd.kill()
        libvirtd.start()
        ends = await asyncio.gather(*hanging, return_exceptions=True)
        assert [end for end in ends if not isinstance(end, UnreachableError)] == []
        await watched.expect(EventKind.DISCONNECTED, 2)


async def test_a_killed_libvirtd_is_lost_at_once_and_comes_back_with_what_it_has_then(libvirtd, watched):
    await watched.cluster.connect(libvirtd.address())
    await watched.expect(EventKind.CONNECTED, 5)
    uuid = await watched.cluster.define("node1", TEST_XML.format(name="forgotten"))
    assert len((await watched.cluster.observe("node1")).domains) == 2

    libvirtd.kill()
    lost = await watched.expect(EventKind.DISCONNECTED, 2)
    assert lost.detail
    with pytest.raises(UnreachableError):
        await watched.cluster.observe("node1")

    libvirtd.start()
    await watched.expect(EventKind.CONNECTED, 16)
    assert [domain.name for domain in (await watched.cluster.observe("node1")).domains] == ["test"]
    assert await watched.cluster.domain("node1", uuid) is None
    # Events come over the new connection as well.
    await libvirtd.virsh("test", "suspend", "test")
    await watched.expect(EventKind.SUSPENDED, 1, name="test")


async def test_a_frozen_libvirtd_is_lost_within_15_s_delays_no_other_and_comes_back(new_libvirtd, watched):
    frozen, other = new_libvirtd("frozen"), new_libvirtd("other")
    for libvirtd in (frozen, other):
        await watched.cluster.connect(libvirtd.address())
        await watched.expect(EventKind.CONNECTED, 5, host=libvirtd.name)

    frozen.signal(signal.SIGSTOP)
    frozen_at = time.monotonic()
    hanging = [asyncio.create_task(watched.cluster.observe("frozen")) for _ in range(5)]
    slowest_s = 0.0
    while not any(event.kind is EventKind.DISCONNECTED for event in watched.seen):
        assert time.monotonic() - frozen_at < 15
        started = time.monotonic()
        await watched.cluster.observe("other")
        slowest_s = max(slowest_s, time.monotonic() - started)
        await asyncio.sleep(0.1)
    assert slowest_s < 1
    assert all(isinstance(error, UnreachableError) for error in await asyncio.gather(*hanging, return_exceptions=True))
    asked_at = time.monotonic()
    with pytest.raises(UnreachableError, match="did not answer"):
        await watched.cluster.observe("frozen")
    assert time.monotonic() - asked_at < 0.1

    frozen.signal(signal.SIGCONT)
    await watched.expect(EventKind.CONNECTED, 16, host="frozen")
    assert (await watched.cluster.observe("frozen")).domains


async def test_keepalive_finds_a_frozen_libvirtd_that_nobody_asks(libvirtd, watched):
    await watched.cluster.connect(libvirtd.address())
    await watched.expect(EventKind.CONNECTED, 5)
    libvirtd.signal(signal.SIGSTOP)
    lost = await watched.expect(EventKind.DISCONNECTED, 15)
    assert "keepalive" in lost.detail
    libvirtd.signal(signal.SIGCONT)
    await watched.expect(EventKind.CONNECTED, 16)


async def test_a_host_frozen_before_the_first_connection_is_told_lost_and_met_when_it_wakes(libvirtd, watched):
    libvirtd.signal(signal.SIGSTOP)
    await watched.cluster.connect(libvirtd.address())
    await watched.expect(EventKind.DISCONNECTED, 15)
    libvirtd.signal(signal.SIGCONT)
    await watched.expect(EventKind.CONNECTED, 2)


async def test_connect_returns_at_once_and_tells_a_dead_host_once(watched, tmp_path):
    nobody = tmp_path / "no-socket"
    started = time.monotonic()
    await watched.cluster.connect(
        HostAddress(name="dead", uri=f"test+unix:///default?socket={nobody}", peer_uri="test:///default")
    )
    assert time.monotonic() - started < 0.1
    await watched.expect(EventKind.DISCONNECTED, 2, host="dead")
    await asyncio.sleep(1.2)  # two more tries by then
    assert watched.seen == []


async def test_a_host_let_go_is_silent(libvirtd, watched):
    await watched.cluster.connect(libvirtd.address())
    await watched.expect(EventKind.CONNECTED, 5)
    await watched.cluster.disconnect("node1")
    with pytest.raises(UnreachableError):
        await watched.cluster.observe("node1")
    await libvirtd.virsh("test", "suspend", "test")
    await asyncio.sleep(0.2)
    assert watched.seen == []


async def test_close_leaves_no_thread_and_no_socket(libvirtd):
    threads, sockets = set(threading.enumerate()), _sockets()
    cluster = LibvirtCluster()
    for number in range(3):
        address = libvirtd.address()
        await cluster.connect(HostAddress(name=f"n{number}", uri=address.uri, peer_uri=address.uri))
    events = cluster.events()
    for _ in range(3):
        assert (await anext(events)).kind is EventKind.CONNECTED
    await asyncio.gather(*(cluster.observe(f"n{number}") for number in range(3)))
    with pytest.raises(NotFoundError):  # errors hold tracebacks, and these must hold no domain
        await cluster.domain_xml("n0", "00000000-0000-4000-8000-000000000000")
    assert len(_sockets()) > len(sockets)
    await cluster.close()
    assert [event async for event in events] == []
    assert set(threading.enumerate()) <= threads
    assert _sockets() <= sockets


async def test_close_does_not_wait_for_a_frozen_host_whose_calls_end_by_themselves_later(libvirtd):
    threads, sockets = set(threading.enumerate()), _sockets()
    cluster = LibvirtCluster()
    events = cluster.events()
    await cluster.connect(libvirtd.address())
    assert (await anext(events)).kind is EventKind.CONNECTED
    libvirtd.signal(signal.SIGSTOP)
    hanging = asyncio.create_task(cluster.observe("node1"))
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await cluster.close()
    assert time.monotonic() - started < 3
    with pytest.raises(UnreachableError, match="closed"):
        await hanging
    libvirtd.signal(signal.SIGCONT)
    while not set(threading.enumerate()) <= threads:
        assert time.monotonic() - started < 10
        await asyncio.sleep(0.01)
    assert _sockets() <= sockets


def _sockets() -> set[str]:
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(descriptor.readlink()))
        except FileNotFoundError:
            continue
    return {link for link in links if link.startswith("socket:")}
