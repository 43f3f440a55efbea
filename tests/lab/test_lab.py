"""The lab itself: real hosts that differ, guests that boot, move and load them, faults, and no trace left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt
import pytest

from scheduler.lab import cgroup, network
from scheduler.lab.command import run, wait_until
from scheduler.lab.errors import LabError
from scheduler.lab.guest import HOST_MODEL, GuestSpec
from scheduler.lab.lab import HOME, Lab, remove_leftovers
from scheduler.lab.owner import Owner
from scheduler.lab.spec import HostSpec, LabSpec, default_spec

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.lab

MIGRATE = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
)


def start(lab: Lab, host: str, guest: GuestSpec, *, booted: bool = True) -> None:
    with lab.hosts[host].connect() as connection:
        connection.defineXML(lab.guest_xml(guest)).create()
    if booted:
        lab.wait_for_guest(guest.name)


def migrate(lab: Lab, guest: str, source: str, destination: str) -> None:
    target = lab.hosts[destination]
    where = {libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{target.migration_address}"}
    with lab.hosts[source].connect() as connection:
        connection.lookupByName(guest).migrateToURI3(target.peer_uri, where, MIGRATE)


def running_on(lab: Lab, guest: str) -> list[str]:
    found = []
    for name, host in lab.hosts.items():
        with host.connect() as connection:
            if guest in [domain.name() for domain in connection.listAllDomains() if domain.isActive()]:
                found.append(name)
    return found


def rates(sample: Callable[[], dict[str, int]], seconds: float) -> dict[str, float]:
    """How fast each nanosecond counter of `sample` grows, in cores."""
    began, before = time.monotonic(), sample()
    time.sleep(seconds)
    after, elapsed = sample(), time.monotonic() - began
    return {key: (after[key] - before[key]) / elapsed / 1e9 for key in after if isinstance(after[key], int)}


def busy_share(lab: Lab, host: str) -> float:
    """The part of the next two seconds that the host says it was busy."""
    with lab.hosts[host].connect() as connection:
        grown = rates(lambda: connection.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS), 2)
    return 1 - grown["idle"] / sum(grown.values())


def test_hosts_report_what_was_specified(lab: Lab) -> None:
    for spec in lab.spec.hosts:
        with lab.hosts[spec.name].connect() as connection:
            _, memory_mib, cpus, *_ = connection.getInfo()
            memory = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
            domain_capabilities = ET.fromstring(connection.getDomainCapabilities(virttype="qemu"))  # noqa: S314
            uuid = ET.fromstring(connection.getCapabilities()).findtext("host/uuid")  # noqa: S314
            assert connection.getHostname() == spec.name
        assert (memory_mib, cpus) == (spec.memory_mib, spec.cpus)
        assert memory["total"] == spec.memory_mib * 1024
        assert 0 < memory["free"] < memory["total"]
        assert uuid == lab.hosts[spec.name].uuid
        usable = {model.text for model in domain_capabilities.iterfind(".//mode[@name='custom']/model[@usable='yes']")}
        assert {"kvm64", "Nehalem"} <= usable
        assert ("Westmere" in usable) == (spec.cpu_model != "Nehalem")


def test_an_older_host_names_the_features_a_newer_guest_needs(clean_lab: Lab) -> None:
    with clean_lab.hosts["node3"].connect() as newest:
        domain = newest.defineXML(clean_lab.guest_xml(GuestSpec("modern", cpu=HOST_MODEL)))
        xml = ET.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_UPDATE_CPU))  # noqa: S314
    cpu = ET.tostring(xml.find("cpu"), encoding="unicode")

    def missing_on(host: str) -> str:
        fail = libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
        with clean_lab.hosts[host].connect() as connection, pytest.raises(libvirt.libvirtError) as refusal:
            connection.compareHypervisorCPU(None, "x86_64", None, "qemu", cpu, fail)
        assert refusal.value.get_error_code() == libvirt.VIR_ERR_CPU_INCOMPATIBLE
        return str(refusal.value)

    assert {"aes", "avx2", "bmi2"} <= set(missing_on("node1").replace(",", "").split())
    assert "avx2" in missing_on("node2")
    assert " aes" not in missing_on("node2")
    with clean_lab.hosts["node3"].connect() as connection:
        identical = connection.compareHypervisorCPU(None, "x86_64", None, "qemu", cpu, 0)
    assert identical in (libvirt.VIR_CPU_COMPARE_IDENTICAL, libvirt.VIR_CPU_COMPARE_SUPERSET)


def test_a_guest_migrates_live_and_keeps_answering(clean_lab: Lab) -> None:
    start(clean_lab, "node3", GuestSpec("traveller"))
    command = clean_lab.ping_command("traveller", "-i", "0.2", "-w", "30")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ping:
        time.sleep(0.5)
        migrate(clean_lab, "traveller", "node3", "node1")
        time.sleep(1)
        ping.send_signal(signal.SIGINT)
        report = ping.communicate()[0]
    assert running_on(clean_lab, "traveller") == ["node1"]
    sent, received = (int(word) for word in report.replace(",", "").split("\n---")[-1].split() if word.isdigit())
    assert received >= 5
    assert sent - received <= 8, report
    assert clean_lab.answers_ping("traveller")


@pytest.mark.alone
def test_a_guest_that_wants_more_than_the_quota_waits_and_fills_its_host(clean_lab: Lab) -> None:
    start(clean_lab, "node1", GuestSpec("hungry"))
    quota_cores = clean_lab.spec.hosts[0].cpu_quota_cores
    with clean_lab.hosts["node1"].connect() as connection:
        domain = connection.lookupByName("hungry")

        def guest() -> dict[str, int]:
            return dict(connection.domainListGetStats([domain])[0][1])

        clean_lab.set_guest_load("hungry", cpu=0.8)
        time.sleep(1)
        hungry = rates(guest, 3)
        host_busy = busy_share(clean_lab, "node1")
        clean_lab.set_guest_load("hungry", cpu=0)
        time.sleep(1)
        host_busy_after = busy_share(clean_lab, "node1")
    assert 0.1 < hungry["vcpu.0.time"] < quota_cores + 0.1  # less where the machine itself has none to give
    assert hungry["vcpu.0.delay"] > 0.2
    assert hungry["vcpu.0.time"] + hungry["vcpu.0.delay"] == pytest.approx(0.8, abs=0.15)
    assert host_busy > 0.9
    assert host_busy_after < 0.3


@pytest.mark.alone
def test_memory_of_guests_and_injected_load_show(clean_lab: Lab) -> None:
    def free_mib() -> int:
        with clean_lab.hosts["node2"].connect() as connection:
            return connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)["free"] // 1024

    empty_mib = free_mib()
    start(clean_lab, "node2", GuestSpec("resident"))
    wait_until(lambda: 96 < empty_mib - free_mib() < 300, "the guest takes memory", timeout_seconds=30)
    before_mib = free_mib()
    clean_lab.inject_load("node2", cpu_cores=1, memory_mib=200)
    wait_until(lambda: before_mib - free_mib() > 150, "injected memory shows", timeout_seconds=30)
    assert busy_share(clean_lab, "node2") > 0.95


@pytest.mark.alone
def test_a_guest_dirties_memory_at_the_rate_it_was_told(clean_lab: Lab) -> None:
    start(clean_lab, "node3", GuestSpec("scribbler", dirty_mib_per_s=16))
    time.sleep(2)
    with clean_lab.hosts["node3"].connect() as connection:
        domain = connection.lookupByName("scribbler")

        def dirty_mib_per_s() -> int:
            domain.startDirtyRateCalc(1, 0)
            stats: dict[str, int] = {}

            def measured() -> bool:
                stats.update(connection.domainListGetStats([domain], libvirt.VIR_DOMAIN_STATS_DIRTYRATE)[0][1])
                return stats.get("dirtyrate.calc_status") == libvirt.VIR_DOMAIN_DIRTYRATE_MEASURED

            wait_until(measured, "the dirty rate is measured", timeout_seconds=30)
            return stats["dirtyrate.megabytes_per_second"]

        # Each looks at some 48 pages of so small a guest, so that one page stands for 2 MiB.
        mean = sum(dirty_mib_per_s() for _ in range(4)) / 4
    assert 8 <= mean <= 26


def test_guests_outlive_their_libvirtd(clean_lab: Lab) -> None:
    host = clean_lab.hosts["node3"]
    start(clean_lab, "node3", GuestSpec("survivor"))
    host.kill_libvirtd()
    assert host.libvirtd_pid() is None
    assert clean_lab.answers_ping("survivor")
    host.start_libvirtd()
    host.wait_until_serving()
    assert running_on(clean_lab, "survivor") == ["node3"]
    host.restart_libvirtd()
    assert running_on(clean_lab, "survivor") == ["node3"]
    assert clean_lab.answers_ping("survivor")


def test_a_frozen_libvirtd_answers_again_once_thawed(clean_lab: Lab) -> None:
    host = clean_lab.hosts["node2"]
    host.freeze_libvirtd()
    ask = ["virsh", "--connect", host.uri, "hostname"]
    with pytest.raises(LabError, match="no end after"):
        run(ask, timeout_seconds=1.5)
    host.thaw_libvirtd()
    assert run(ask, timeout_seconds=10).strip() == "node2"


def test_a_cut_link_parts_hosts_and_guests(clean_lab: Lab) -> None:
    start(clean_lab, "node3", GuestSpec("islander"))
    clean_lab.cut_link("node3")
    assert not clean_lab.answers_ping("islander")
    with clean_lab.hosts["node3"].connect() as connection:
        assert connection.getHostname() == "node3"
    clean_lab.restore_link("node3")
    clean_lab.wait_for_guest("islander", timeout_seconds=30)


def test_a_slow_link_makes_migration_slow(clean_lab: Lab) -> None:
    start(clean_lab, "node3", GuestSpec("parcel"))
    durations = []
    for source, destination in (("node3", "node2"), ("node2", "node3")):
        began = time.monotonic()
        migrate(clean_lab, "parcel", source, destination)
        durations.append(time.monotonic() - began)
        clean_lab.slow_link("node2", mbit_per_s=80)
    fast_seconds, slow_seconds = durations
    assert slow_seconds > fast_seconds + 2


def test_a_migration_fails_for_real_until_it_is_allowed_again(clean_lab: Lab) -> None:
    start(clean_lab, "node3", GuestSpec("unlucky"))
    clean_lab.fail_migrations("node2")
    with pytest.raises(libvirt.libvirtError, match="unable to connect to server"):
        migrate(clean_lab, "unlucky", "node3", "node2")
    assert running_on(clean_lab, "unlucky") == ["node3"]
    clean_lab.allow_migrations("node2")
    migrate(clean_lab, "unlucky", "node3", "node2")
    assert running_on(clean_lab, "unlucky") == ["node2"]


def test_a_host_that_loses_power_comes_back_without_its_guests(clean_lab: Lab) -> None:
    host = clean_lab.hosts["node3"]
    start(clean_lab, "node3", GuestSpec("victim"), booted=False)
    host.lose_power()
    assert network.processes(host.namespace) == []
    host.start_libvirtd()
    host.wait_until_serving()
    assert running_on(clean_lab, "victim") == []
    with host.connect() as connection:
        assert connection.lookupByName("victim").isPersistent()


def traces(lab: Lab) -> list[str]:
    """Everything that a lab which is down must not leave."""
    left = network.namespaces(lab.id)
    left += [str(path) for path in (lab.directory, cgroup.lab_group(lab.id), HOME / "index" / lab.id) if path.exists()]
    for mounts in Path("/proc").glob("[0-9]*/mounts"):
        try:
            left += [str(mounts)] if str(lab.directory) in mounts.read_text() else []
        except OSError:
            continue
    return left


def test_two_labs_do_not_disturb_each_other_and_leave_no_trace(clean_lab: Lab, lab_folder: Path) -> None:
    spec = LabSpec((HostSpec("solo", cpus=3, memory_mib=512),), network=clean_lab.spec.network)
    start(clean_lab, "node3", GuestSpec("neighbour"))
    with Lab.create(lab_folder / "second", spec, owner=Owner.this_process()) as second:
        start(second, "solo", GuestSpec("neighbour"))
        assert second.hosts["solo"].address == clean_lab.hosts["node1"].address
        assert traces(second)
        with second.hosts["solo"].connect() as connection:
            assert connection.getInfo()[1:3] == [512, 3]
        second.cut_link("solo")
        assert clean_lab.answers_ping("neighbour")
    assert traces(second) == []
    assert running_on(clean_lab, "neighbour") == ["node3"]


def test_a_lab_whose_owner_was_killed_is_removed(lab_folder: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from scheduler.lab.lab import Lab;"
        "from scheduler.lab.owner import Owner;"
        "from scheduler.lab.spec import default_spec;"
        "Lab.create(Path(sys.argv[1]), default_spec(1), owner=Owner.this_process()).up();"
        "print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(lab_folder / "orphan")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        orphan = Lab.load(lab_folder / "orphan")
        assert orphan.id not in remove_leftovers()
        owner.kill()
    assert orphan.hosts["node1"].libvirtd_pid() is not None
    assert orphan.id in remove_leftovers()
    assert traces(orphan) == []


def test_coming_up_again_replaces_a_killed_run(lab_folder: Path) -> None:
    first = Lab.create(lab_folder / "again", default_spec(1))
    first.up()
    with Lab.create(lab_folder / "again", default_spec(1)) as second:
        assert second.id != first.id
        assert network.namespaces(first.id) == []
        assert second.hosts["node1"].libvirtd_pid() is not None
    assert traces(second) == []


def test_a_failed_attempt_leaves_nothing(lab_folder: Path) -> None:
    lab = Lab.create(lab_folder / "bad", LabSpec((HostSpec("node1", cpu_model="Pentium-17"),)))
    with pytest.raises(LabError, match="Pentium-17"):
        lab.up()
    assert traces(lab) == []
