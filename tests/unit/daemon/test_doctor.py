"""What is found before a migration would find it: hosts, ways, certificates, locks."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.cluster.assemble import HostInput
from scheduler.cluster.observation import DomainFacts, HostFacts
from scheduler.cluster.ports import HostAddress
from scheduler.cluster.rules import Pin, Rules
from scheduler.daemon import reach
from scheduler.daemon.doctor import Finding, LocalFiles, Result, examine, flaws, observed
from scheduler.simulation.clock import ManualClock
from scheduler.simulation.cluster import SimulatedCluster

GUEST = DomainFacts(vcpus=1, memory_mib=512)
FACTS = HostFacts(
    cpus=4, memory_mib=8192, libvirt_version="9.0.0", hypervisor_version="7.2.9", domain_types=frozenset({"kvm"})
)


def address(name: str, uri: str = "") -> HostAddress:
    uri = uri or f"qemu+ssh://{name}/system"
    return HostAddress(name=name, uri=uri, peer_uri=f"qemu+ssh://{name}/system", migration_address="127.0.0.1")


@pytest.fixture
def cluster() -> SimulatedCluster:
    clock = ManualClock()
    made = SimulatedCluster(clock.monotonic, clock.sleep)
    for name in ("node1", "node2"):
        made.add_host(name, FACTS).connected = False
        made.add_vm(name, f"vm-{name}", GUEST, running=False)
    return made


async def found(cluster: SimulatedCluster, *addresses: HostAddress, files: Path = Path("/nowhere")):
    """Findings by check and by host or way."""
    findings = await examine(
        cluster,
        addresses or (address("node1"), address("node2")),
        files=LocalFiles(files / "qemu.conf", files),
        connect_seconds=0.0,
    )
    by_place: dict[tuple[str, ...], Finding] = {}
    for finding in findings:
        by_place[tuple(filter(None, (finding.check, finding.host, finding.destination)))] = finding
    assert len(by_place) == len(findings)
    return by_place


async def test_a_cluster_in_order(cluster: SimulatedCluster):
    by_place = await found(cluster)
    assert {place: finding.result for place, finding in by_place.items() if place[0] != "lock_manager"} == {
        (check, *where): Result.OK
        for check, places in {
            "libvirt": [["node1"], ["node2"]],
            "versions": [["node1"], ["node2"]],
            "kvm": [["node1"], ["node2"]],
            "memory_port": [["node1"], ["node2"]],
            "peer": [["node1", "node2"], ["node2", "node1"]],
        }.items()
        for where in places
    }
    assert by_place["libvirt", "node1"].text == "libvirt 9.0.0, QEMU 7.2.9, 0 of 1 VMs run"
    assert by_place["lock_manager", "node1"].result is Result.UNKNOWN


async def test_a_host_that_does_not_answer_fails_and_tells_nothing_of_its_ways(cluster: SimulatedCluster):
    cluster.host("node2").unreachable = "no route"
    by_place = await found(cluster)
    assert by_place["libvirt", "node2"].result is Result.FAILED
    assert "no route" in by_place["libvirt", "node2"].text
    assert ("kvm", "node2") not in by_place
    assert by_place["peer", "node1", "node2"].result is Result.FAILED
    assert by_place["peer", "node2", "node1"].result is Result.UNKNOWN


async def test_one_libvirtd_under_two_addresses(cluster: SimulatedCluster):
    for name in ("node1", "node2"):
        cluster.host(name).facts = replace(FACTS, uuid="c0ffee")
    by_place = await found(cluster)
    assert by_place["libvirt", "node1"].result is Result.OK
    assert by_place["libvirt", "node2"].result is Result.FAILED
    assert by_place["libvirt", "node2"].text.startswith("has the host UUID of node1: ")


async def test_a_way_on_which_credentials_do_not_reach(cluster: SimulatedCluster):
    cluster.host("node2").peer_error = "authentication failed"
    by_place = await found(cluster)
    assert by_place["peer", "node1", "node2"].result is Result.FAILED
    assert "authentication failed" in by_place["peer", "node1", "node2"].text
    assert by_place["peer", "node2", "node1"].result is Result.OK


async def test_a_way_on_which_memory_does_not_get_through(cluster: SimulatedCluster):
    cluster.host("node2").port_error = "no route to host"
    by_place = await found(cluster)
    assert by_place["peer", "node1", "node2"].result is Result.FAILED
    assert by_place["peer", "node1", "node2"].text == "memory cannot be sent there: no route to host"


async def test_a_way_needs_a_vm_to_be_tried_with(cluster: SimulatedCluster):
    cluster.host("node1").domains.clear()
    by_place = await found(cluster)
    assert by_place["peer", "node1", "node2"].text == "node1 has no VM to try it with"
    assert by_place["peer", "node1", "node2"].result is Result.UNKNOWN


@pytest.mark.parametrize(
    ("libvirt", "qemu", "older"),
    [("9.0.1", "7.2.1", False), ("8.10.0", "7.2.9", True), ("9.0.0", "7.1.9", True), ("", "", False)],
)
async def test_what_is_older_than_elsewhere(cluster: SimulatedCluster, libvirt: str, qemu: str, older: bool):
    cluster.host("node2").facts = HostFacts(
        cpus=4, memory_mib=8192, libvirt_version=libvirt, hypervisor_version=qemu, domain_types=frozenset({"qemu"})
    )
    by_place = await found(cluster)
    assert (by_place["versions", "node2"].result is Result.WARNING) == older
    assert by_place["versions", "node1"].result is Result.OK
    assert by_place["kvm", "node2"].result is Result.WARNING


@pytest.mark.parametrize(
    ("conf", "result"),
    [('lock_manager = "lockd"\n', Result.OK), ('#lock_manager = "lockd"\n', Result.WARNING), (None, Result.UNKNOWN)],
)
async def test_the_lock_manager_of_this_machine(
    cluster: SimulatedCluster, tmp_path: Path, conf: str | None, result: Result
):
    if conf is not None:
        (tmp_path / "qemu.conf").write_text(conf)
    by_place = await found(cluster, address("node1", "qemu:///system"), files=tmp_path)
    assert by_place["lock_manager", "node1"].result is result
    assert ("memory_port", "node1") not in by_place


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [
        ("qemu+tls://node1/system", ("node1", 16514)),
        ("qemu://node1:17000/system", ("node1", 17000)),
        ("qemu+ssh://root@node1/system", None),
        ("qemu+tcp://node1/system", None),
        ("qemu:///system", None),
    ],
)
def test_which_uris_go_over_tls(uri: str, endpoint: tuple[str, int] | None):
    assert reach.tls_endpoint(uri) == endpoint


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
async def tls_port(tmp_path: Path) -> AsyncIterator[int]:
    """A server whose certificate ends in ten days; it is its own CA."""
    authority = tmp_path / "CA" / "cacert.pem"
    authority.parent.mkdir()
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 10,
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        "-keyout", tmp_path / "key.pem", "-out", authority,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority, tmp_path / "key.pem")
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "localhost", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_the_end_of_a_certificate_is_seen_from_outside(cluster: SimulatedCluster, tls_port: int, tmp_path: Path):
    uri = f"qemu+tls://localhost:{tls_port}/system"
    by_place = await found(cluster, HostAddress(name="node1", uri=uri, peer_uri=uri), files=tmp_path)
    finding = by_place["certificate", "node1"]
    assert finding.result is Result.WARNING
    assert "valid for 9 days" in finding.text


async def test_a_certificate_that_cannot_be_checked_is_a_failure(cluster: SimulatedCluster, tls_port: int):
    uri = f"qemu+tls://localhost:{tls_port}/system"
    by_place = await found(cluster, HostAddress(name="node1", uri=uri, peer_uri=uri))
    assert by_place["certificate", "node1"].result is Result.FAILED
    assert "without the CA certificate" in by_place["certificate", "node1"].text


async def test_rules_are_held_against_what_is_seen(cluster: SimulatedCluster):
    inputs = [HostInput(name=name, reachable=False, observation=None) for name in ("node1", "node2", "node3")]
    await examine(cluster, [address("node1"), address("node2")], connect_seconds=0.0)
    snapshot = await observed(cluster, inputs, Rules(pins=(Pin("vm-node1", ("node9",)),)))
    assert [(one.name, one.state, one.memory_mib) for one in snapshot.hosts] == [
        ("node1", "up", 8192),
        ("node2", "up", 8192),
        ("node3", "unreachable", 0),
    ]
    assert [(finding.check, finding.result, finding.text) for finding in flaws(snapshot)] == [
        ("rules", Result.FAILED, "cannot hold for vm-node1: vm-node1 on node9"),
        ("selector", Result.WARNING, "pins[0]: node9 means no host"),
        ("loss", Result.OK, "any one host can be lost: all of its VMs that can restart find places"),
    ]
