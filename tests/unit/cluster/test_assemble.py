"""The snapshot holds every host and every VM once, and marks what cannot be relied on."""

from datetime import UTC, datetime

from scheduler.cluster.assemble import HostInput, Picture, Windows, assemble
from scheduler.cluster.demand import DemandBook
from scheduler.cluster.model import HostState, VmState
from scheduler.cluster.observation import DomainFacts, DomainObservation, HostFacts, HostObservation
from scheduler.cluster.rules import Rules

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def domain(uuid="u1", state=VmState.RUNNING, **more):
    facts = more.pop("facts", DomainFacts(vcpus=1, memory_mib=128))
    return DomainObservation(uuid=uuid, name=f"vm-{uuid}", state=state, persistent=True, facts=facts, **more)


def host(name, *domains, reachable=True, seen_at_s=100.0, cordoned=False):
    observation = HostObservation(
        host=name, monotonic_s=seen_at_s, facts=HostFacts(cpus=4, memory_mib=4096), domains=domains
    )
    return HostInput(
        name=name, reachable=reachable, observation=observation, reserved_memory_mib=512, cordoned=cordoned
    )


def snapshot_of(*hosts, verdicts=lambda _facts: {}):
    return assemble(NOW, hosts, DemandBook(), Windows(now_s=100.0), Rules(), verdicts)


def test_one_host_of_a_picture_is_as_if_it_were_alone():
    windows, picture = Windows(now_s=100.0), Picture(DemandBook(), lambda _facts: {})
    hosts = (
        host("a", domain("shared"), domain("own"), domain("coming", VmState.PAUSED, incoming=True)),
        host("b", domain("shared", VmState.STOPPED), domain("coming"), seen_at_s=50.0),
    )
    for one in hosts:
        picture.take_in(one, windows)
    for one in hosts:
        assert picture.of(one.name, NOW, windows, Rules()) == snapshot_of(one)


def test_a_vm_is_where_it_runs_wherever_else_it_is_defined():
    snapshot = snapshot_of(host("a", domain(state=VmState.STOPPED)), host("b", domain()))
    assert len(snapshot.vms) == 1
    assert snapshot.vms[0].host == "b"
    assert snapshot.vms[0].defined_on == ("a", "b")


def test_the_latest_look_tells_where_a_vm_is():
    assert snapshot_of(host("a", domain(), seen_at_s=99.0), host("b", domain(), seen_at_s=100.0)).vms[0].host == "b"


def test_the_receiving_half_of_a_migration_takes_room_on_its_host():
    snapshot = snapshot_of(host("a", domain()), host("b", domain(state=VmState.PAUSED, incoming=True)))
    assert (snapshot.vms[0].host, snapshot.vms[0].destination) == ("a", "b")


def test_a_receiving_half_alone_is_no_vm():
    assert snapshot_of(host("b", domain(state=VmState.PAUSED, incoming=True))).vms == ()


def test_a_uuid_that_runs_twice_is_left_to_a_person():
    quarantine = snapshot_of(host("a", domain()), host("b", domain())).vms[0].quarantine
    assert quarantine == "its UUID is active on a and b: a person should look"


def test_one_that_is_just_changing_hands_is_not():
    hosts = (host("a", domain(), seen_at_s=99.0), host("b", domain(), seen_at_s=98.0))
    changing = {domain().uuid}
    [vm] = assemble(NOW, hosts, DemandBook(), Windows(now_s=100.0), Rules(), lambda _: {}, changing).vms
    assert (vm.host, vm.quarantine) == ("a", None)


def test_host_states():
    never_seen = HostInput(name="d", reachable=False, observation=None)
    snapshot = snapshot_of(host("a"), host("b", cordoned=True), host("c", reachable=False), never_seen)
    assert [one.state for one in snapshot.hosts] == [
        HostState.UP,
        HostState.MAINTENANCE,
        HostState.UNREACHABLE,
        HostState.UNREACHABLE,
    ]
    assert snapshot.host("d").stale


def test_old_figures_are_stale():
    snapshot = snapshot_of(host("a", seen_at_s=64.0), host("b", seen_at_s=66.0))
    assert [one.stale for one in snapshot.hosts] == [True, False]


def test_what_blocks_a_move_comes_from_the_definition():
    facts = DomainFacts(vcpus=1, memory_mib=64, blockers=("PCI device 0000:3b:00.0 (hostdev)",))
    vm = snapshot_of(host("a", domain(facts=facts))).vms[0]
    assert not vm.movable
    assert vm.blockers == facts.blockers


def test_the_hosts_answers_about_the_cpu_are_kept():
    vm = snapshot_of(host("a", domain()), verdicts=lambda _facts: {"a": frozenset(), "b": frozenset({"avx2"})}).vms[0]
    assert vm.cpu_missing_on == {"a": frozenset(), "b": frozenset({"avx2"})}
