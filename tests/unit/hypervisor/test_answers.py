"""libvirt's answers, read: errors, incompatible CPUs, statistics, jobs, capabilities."""

import libvirt
import pytest

from scheduler.cluster.model import VmState
from scheduler.cluster.observation import DomainFacts, DomainObservation
from scheduler.cluster.ports import (
    BusyError,
    HostAddress,
    MigrationOptions,
    NotFoundError,
    RefusedError,
    UnreachableError,
    UnsafeError,
)
from scheduler.hypervisor import cpu, migration, statistics
from scheduler.hypervisor.errors import port_error
from scheduler.hypervisor.host_facts import machine_types, tsc_hz
from scheduler.hypervisor.inventory import GuestKinds

CPU = "<cpu mode='custom' match='exact'><model>Haswell</model></cpu>"


@pytest.mark.parametrize(
    ("code", "domain", "expected"),
    [
        ("VIR_ERR_NO_DOMAIN", "VIR_FROM_QEMU", NotFoundError),
        ("VIR_ERR_RPC", "VIR_FROM_RPC", UnreachableError),
        ("VIR_ERR_INTERNAL_ERROR", "VIR_FROM_RPC", UnreachableError),
        ("VIR_ERR_SYSTEM_ERROR", "VIR_FROM_RPC", UnreachableError),
        ("VIR_ERR_NO_CONNECT", "VIR_FROM_REMOTE", UnreachableError),
        ("VIR_ERR_INTERNAL_ERROR", "VIR_FROM_QEMU", RefusedError),
        ("VIR_ERR_SYSTEM_ERROR", "VIR_FROM_QEMU", RefusedError),
        ("VIR_ERR_OPERATION_TIMEOUT", "VIR_FROM_QEMU", BusyError),
        ("VIR_ERR_RESOURCE_BUSY", "VIR_FROM_QEMU", BusyError),
        ("VIR_ERR_OPERATION_INVALID", "VIR_FROM_QEMU", RefusedError),
        ("VIR_ERR_MIGRATE_UNSAFE", "VIR_FROM_QEMU", UnsafeError),
        ("VIR_ERR_CONFIG_UNSUPPORTED", "VIR_FROM_QEMU", RefusedError),
    ],
)
def test_errors_are_told_as_those_of_the_port(code, domain, expected):
    error = port_error("node1", getattr(libvirt, code), getattr(libvirt, domain), "because")
    assert type(error) is expected
    assert str(error) == "node1: because"


def test_an_error_without_words_still_says_something():
    assert port_error("node1", libvirt.VIR_ERR_OK, 0, "").text == "libvirt gave no reason"


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (
            "the CPU is incompatible with host CPU: Host CPU does not provide required features: fma, movbe, sse4.2",
            {"fma", "movbe", "sse4.2"},
        ),
        ("Host CPU does not provide required features: avx512-vpopcntdq", {"avx512-vpopcntdq"}),
        (
            "the CPU is incompatible with host CPU: host CPU vendor does not match required CPU vendor Intel",
            {"host CPU vendor does not match required CPU vendor Intel"},
        ),
        ("internal error: Unknown CPU model Haswell", {"Unknown CPU model Haswell"}),
        ("Host CPU does not provide required features: ", {"CPU model Haswell"}),
        ("", {"CPU model Haswell"}),
    ],
)
def test_an_incompatible_cpu_always_lacks_something(text, features):
    assert cpu.read_incompatibility(text, CPU).lacks == features


def test_what_a_better_host_has_too_much_is_no_missing_feature():
    text = "Host CPU does not strictly match guest CPU: Extra features: avx, fma"
    assert cpu.read_incompatibility(text, cpu.strict(CPU)).lacks == {cpu.IDENTICAL_CPU}


def test_statistics_that_are_missing_are_unknown():
    assert statistics.vcpu_delay_ns({}) is None
    assert statistics.memory_used_mib({"balloon.current": 1024}) is None
    assert statistics.counter({}, "cpu.time") is None


def test_statistics_that_are_there():
    stats = {
        "vcpu.current": 2, "vcpu.0.delay": 5, "vcpu.1.delay": 7, "vcpu.0.time": 100, "vcpu.1.wait": 3,
        "balloon.rss": 300 * 1024, "balloon.current": 256 * 1024,
    }  # fmt: skip
    assert statistics.vcpu_delay_ns(stats) == 12
    assert statistics.memory_used_mib(stats) == 256
    assert statistics.memory_used_mib(stats | {"balloon.rss": 100 * 1024}) == 100
    assert statistics.memory_used_mib({"balloon.rss": 1024}) == 1


@pytest.mark.parametrize(
    ("state", "domain_id", "expected"),
    [
        ("RUNNING", 1, VmState.RUNNING),
        ("BLOCKED", 1, VmState.RUNNING),
        ("SHUTDOWN", 1, VmState.RUNNING),
        ("PAUSED", 1, VmState.PAUSED),
        ("PMSUSPENDED", 1, VmState.PAUSED),
        ("CRASHED", 1, VmState.PAUSED),
        ("CRASHED", None, VmState.STOPPED),
        ("SHUTOFF", None, VmState.STOPPED),
    ],
)
def test_states(state, domain_id, expected):
    assert statistics.vm_state({"state.state": getattr(libvirt, f"VIR_DOMAIN_{state}")}, domain_id) is expected


def test_a_running_migration():
    job = migration.read_job(
        {
            "type": libvirt.VIR_DOMAIN_JOB_UNBOUNDED,
            "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT,
            "time_elapsed": 1500,
            "data_total": 300,
            "data_processed": 200,
            "data_remaining": 100,
            "memory_total": 30,
            "memory_bps": 2 * 1024 * 1024,
            "memory_dirty_rate": 512,
            "memory_page_size": 4096,
            "memory_iteration": 2,
            "downtime": 300,
        }
    )
    assert job is not None
    assert (job.elapsed_ms, job.total_bytes, job.processed_bytes, job.remaining_bytes) == (1500, 300, 200, 100)
    assert (job.dirty_mib_per_s, job.bandwidth_mib_per_s, job.iteration, job.downtime_ms) == (2, 2, 2, 300)
    assert job.outgoing


def test_a_migration_being_prepared_knows_no_amounts_yet():
    job = migration.read_job(
        {"type": libvirt.VIR_DOMAIN_JOB_UNBOUNDED, "time_elapsed": 5, "data_total": 0, "data_remaining": 0}
    )
    assert job is not None
    assert (job.total_bytes, job.processed_bytes, job.remaining_bytes, job.dirty_mib_per_s) == (None, None, None, None)


@pytest.mark.parametrize(
    "stats",
    [
        {},
        {"type": libvirt.VIR_DOMAIN_JOB_NONE},
        {"type": libvirt.VIR_DOMAIN_JOB_UNBOUNDED, "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP},
    ],
)
def test_no_migration(stats):
    assert migration.read_job(stats) is None


@pytest.mark.parametrize("persistent", [True, False])
def test_both_definition_flags_or_neither(persistent):
    flags = migration.flags(MigrationOptions(persistent=persistent))
    assert bool(flags & libvirt.VIR_MIGRATE_PERSIST_DEST) is persistent
    assert bool(flags & libvirt.VIR_MIGRATE_UNDEFINE_SOURCE) is persistent
    assert flags & libvirt.VIR_MIGRATE_LIVE
    assert flags & libvirt.VIR_MIGRATE_PEER2PEER
    assert flags & libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    assert not flags & libvirt.VIR_MIGRATE_AUTO_CONVERGE


@pytest.mark.parametrize(
    ("address", "uri"), [("10.0.0.2", "tcp://10.0.0.2"), ("fd00::2", "tcp://[fd00::2]"), (None, None)]
)
def test_the_migration_address_and_the_cap(address, uri):
    destination = HostAddress(name="n", uri="u", peer_uri="p", migration_address=address)
    chosen = migration.parameters(destination, MigrationOptions(persistent=True, bandwidth_mib_per_s=50))
    assert chosen.get(libvirt.VIR_MIGRATE_PARAM_URI) == uri
    assert chosen[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] == 50
    assert libvirt.VIR_MIGRATE_PARAM_BANDWIDTH not in migration.parameters(
        destination, MigrationOptions(persistent=True)
    )


def test_machine_types_of_the_host_s_own_architecture():
    capabilities = """<capabilities><host><cpu><arch>x86_64</arch></cpu></host>
      <guest><arch name='x86_64'><machine canonical='pc-i440fx-7.2'>pc</machine><domain type='kvm'>
        <machine>q35</machine></domain></arch></guest>
      <guest><arch name='aarch64'><machine>virt</machine></arch></guest></capabilities>"""
    assert machine_types(capabilities) == {"pc", "pc-i440fx-7.2", "q35"}
    assert machine_types("<capabilities/>") is None


def guest(virt_type: str) -> DomainObservation:
    facts = DomainFacts(vcpus=1, memory_mib=1, virt_type=virt_type)
    return DomainObservation(uuid=virt_type, name=virt_type, state=VmState.RUNNING, persistent=True, facts=facts)


def test_hosts_are_described_for_the_commonest_kind_of_guest():
    kinds = GuestKinds()
    kinds.note("node1", [])
    assert kinds.commonest is None
    kinds.note("node1", [guest("qemu")])
    kinds.note("node2", [guest("kvm"), guest("kvm")])
    assert kinds.commonest == "kvm"
    kinds.forget("node2")
    assert kinds.commonest == "qemu"


@pytest.mark.parametrize(
    ("counter", "expected"),
    [
        ("<counter name='tsc' frequency='2599999000' scaling='no'/>", 2_599_999_000),
        ("<counter name='tsc' frequency='2599999000' scaling='yes'/>", None),
        ("", None),
    ],
)
def test_the_time_stamp_counter_of_a_host(counter, expected):
    assert tsc_hz(f"<capabilities><host><cpu>{counter}</cpu></host></capabilities>") == expected


def test_disks_are_copied_by_name():
    options = MigrationOptions(persistent=True, copied_disks=("vda", "vdb"))
    destination = HostAddress(name="n", uri="u", peer_uri="p")
    assert migration.flags(options) & libvirt.VIR_MIGRATE_NON_SHARED_DISK
    assert migration.parameters(destination, options) == {libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS: ["vda", "vdb"]}
