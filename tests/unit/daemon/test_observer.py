"""Looking at hosts: promptly, each on its own, and never taken in by what one of them says."""

from dataclasses import dataclass, field, replace

import pytest

from scheduler.cluster.model import HostState, VmState
from scheduler.cluster.observation import DomainFacts, HostFacts, HostObservation
from scheduler.cluster.ports import CpuAnswer, UnreachableError
from scheduler.daemon.compatibility import NEW_KINDS_KEPT, CpuCompatibility, kinds_of
from scheduler.simulation.cluster import SimulatedCluster

from .conftest import AT_ONCE, AUTO, House


class OddCluster(SimulatedCluster):
    """A cluster with a host that says things nobody foresaw."""

    odd = ""

    async def observe(self, host: str) -> HostObservation:
        if host == self.odd:
            raise ValueError("memory is 'plenty'")
        return await super().observe(host)


async def test_an_event_is_seen_within_a_tenth_of_a_second(house: House):
    daemon = await house.go()
    uuid = house.vm("web1", "node2", running=False)
    await house.cluster.start("node2", uuid)
    await house.clock.advance(0.1)
    assert daemon.service.snapshot().vm("web1").state is VmState.RUNNING


async def test_a_host_that_hangs_delays_no_other(house: House):
    house.vm("guest", "node3", cpu_xml="<cpu/>", required_cpu_features=frozenset({"sse"}))
    daemon = await house.go()
    house.cluster.host("node3").frozen = True
    await house.clock.advance(9)
    # A kind of guest CPU that nobody was asked about yet: node3 will not answer.
    uuid = house.vm("web1", "node1", cpu_xml="<cpu x='1'/>", required_cpu_features=frozenset({"sse"}))
    for _ in range(40):
        await house.clock.advance(1)
        assert daemon._observer.age_s("node1") <= 10.1
        assert daemon._observer.age_s("node2") <= 10.1
    assert daemon.service.snapshot().vm(uuid).cpu_missing_on.keys() == {"node1", "node2"}
    assert daemon.service.snapshot().host("node3").state is HostState.UNREACHABLE


async def test_a_lost_host_is_told_and_comes_back_by_itself(house: House):
    house.vm("web1", "node2")
    daemon = await house.go()
    house.cluster.cut("node2", "connection reset")
    await house.clock.advance(0.1)
    [status] = [host for host in daemon.service.hosts() if host.name == "node2"]
    assert (status.state, status.detail) == ("unreachable", "connection reset")
    assert daemon.service.snapshot().vm("web1").host == "node2"
    house.cluster.restore("node2")
    await house.clock.advance(0.1)
    [status] = [host for host in daemon.service.hosts() if host.name == "node2"]
    assert (status.state, status.detail) == ("up", "")


async def test_one_libvirtd_under_two_addresses_is_one_host(house: House):
    for name in ("node1", "node3"):
        house.cluster.host(name).facts = HostFacts(cpus=8, memory_mib=16384, uuid="c0ffee")
    daemon = await house.go()
    await house.clock.advance(30)
    assert {host.name: (host.state, host.memory_mib) for host in daemon.service.hosts()} == {
        "node1": ("up", 16384),
        "node2": ("up", 16384),
        "node3": ("unreachable", None),
    }
    why = "has the host UUID of node1: if it is not the same machine, set host_uuid in libvirtd.conf"
    assert daemon.service.status().hosts_down == {"node3": why}
    house.write(AUTO + AT_ONCE, ("node2", "node3"))
    await house.run(daemon.reload())
    await house.clock.advance(30)
    assert daemon.service.status().hosts_down == {}


async def test_an_odd_host_is_unreachable_and_the_others_are_not(house: House):
    house.cluster.__class__ = OddCluster
    daemon = await house.go()
    house.cluster.odd = "node2"
    await house.clock.advance(60)
    states = {host.name: (host.state, host.detail) for host in daemon.service.hosts()}
    assert states["node1"] == states["node3"] == ("up", "")
    assert states["node2"] == ("unreachable", "what it says could not be read: ValueError(\"memory is 'plenty'\")")
    house.cluster.odd = ""
    await house.clock.advance(11)
    assert {host.state for host in daemon.service.hosts()} == {"up"}


async def test_nothing_is_planned_before_every_host_is_heard_of_or_given_up(house: House):
    house.cluster.host("node3").unreachable = "no route to host"
    house.write(AUTO + AT_ONCE)
    daemon = await house.go()
    assert house.clock.monotonic() == pytest.approx(8.0, abs=0.5)
    await house.clock.advance(2)
    assert daemon.service.status().hosts_up == 2
    assert daemon.cycle.last is not None
    assert "waiting" not in daemon.cycle.last.sentence


async def test_a_vm_that_runs_twice_is_no_move_and_no_storm(house: House):
    uuid = house.vm("clone", "node1")
    daemon = await house.go()
    house.cluster.add_vm("node2", "clone", DomainFacts(vcpus=4, memory_mib=1024), uuid=uuid)
    await house.clock.advance(60)
    assert await house.journal.moves() == []
    assert daemon.service.snapshot().vm(uuid).quarantine
    texts = [notice.text for notice in daemon.notices._memory]
    assert len(texts) < 15


async def test_what_is_gone_is_forgotten(house: House):
    uuid = house.vm("web1", "node1", cpu_xml="<cpu/>", required_cpu_features=frozenset())
    daemon = await house.go()
    await house.clock.advance(30)
    observer = daemon._observer
    assert observer._demand._vms
    assert observer.compatibility._answers
    house.cluster.end_guest("node1", uuid)
    await house.cluster.undefine("node1", uuid)
    await house.clock.advance(120)
    assert not observer._demand._vms
    assert not observer._whereabouts._ran_on
    assert not observer.compatibility._answers


async def test_a_look_makes_anew_only_what_its_host_shows(house: House):
    for number in (1, 2):
        house.vm(f"web{number}", f"node{number}")
    observer = (await house.go())._observer
    first = {vm.name: vm for vm in observer.snapshot().vms}
    await house.run(observer.look("node1"))
    second = {vm.name: vm for vm in observer.snapshot().vms}
    assert second["web1"] is not first["web1"]
    assert second["web2"] is first["web2"]


async def test_every_vm_knows_what_a_host_answers_at_once_also_those_of_other_hosts(house: House):
    house.vm("web1", "node1", cpu_xml="<cpu/>", required_cpu_features=frozenset({"sse"}))
    observer = (await house.go())._observer
    await house.clock.advance(30)
    assert observer.snapshot().vms[0].cpu_missing_on.keys() == set(observer.names)
    observer.compatibility.forget("node2")
    assert observer.snapshot().vms[0].cpu_missing_on.keys() == {"node1", "node3"}


async def test_what_a_lost_host_showed_grows_old(house: House):
    house.vm("web1", "node1", cores=2.0)
    observer = (await house.go())._observer
    await house.clock.advance(60)
    assert observer.snapshot().vms[0].cpu_demand_cores == pytest.approx(2.0)
    house.cluster.cut("node1")
    await house.clock.advance(150)
    assert observer.snapshot().vms[0].cpu_demand_cores is None
    assert observer.snapshot().host("node1").stale


@dataclass
class Questions:
    """The part of a cluster that answers questions about guest CPUs."""

    answer: frozenset[str] | Exception | None = frozenset()
    asked: list[str] = field(default_factory=list)

    async def compare_cpu(self, host: str, facts: DomainFacts) -> CpuAnswer:
        self.asked.append(host)
        if isinstance(self.answer, Exception):
            raise self.answer
        missing = self.answer
        return CpuAnswer(compatible=None if missing is None else not missing, missing=missing or frozenset())


GUEST = DomainFacts(vcpus=1, memory_mib=1, cpu_xml="<cpu/>")
KINDS = kinds_of([GUEST, GUEST])


async def test_a_kind_of_guest_cpu_is_asked_about_once_for_each_host():
    questions, changes = Questions(frozenset({"avx2"})), list[int]()
    known = CpuCompatibility(questions, lambda: changes.append(1))  # type: ignore[arg-type]
    await known.ask(["a", "b"], KINDS)
    await known.ask(["a", "b"], KINDS)
    assert questions.asked == ["a", "b"]
    assert known.verdicts(GUEST) == {"a": {"avx2"}, "b": {"avx2"}}
    known.forget("a")
    assert known.verdicts(GUEST) == {"b": {"avx2"}}
    await known.ask(["a"], KINDS)
    assert questions.asked == ["a", "b", "a"]
    assert len(changes) == 4


@pytest.mark.parametrize(
    ("answer", "times"), [(None, 1), (UnreachableError("a", "gone"), 2), (ValueError("odd"), 1)], ids=str
)
async def test_no_answer_is_no_verdict(answer: Exception | None, times: int):
    """One that cannot tell is not asked again, one that could not be asked is."""
    questions = Questions(answer)
    known = CpuCompatibility(questions, lambda: None)  # type: ignore[arg-type]
    for _ in range(2):
        await known.ask(["a"], KINDS)
    assert known.verdicts(GUEST) == {}
    assert len(questions.asked) == times
    await known.close()


def test_what_names_no_cpu_is_not_asked_about():
    known = CpuCompatibility(Questions(), lambda: None)  # type: ignore[arg-type]
    assert known.verdicts(DomainFacts(vcpus=1, memory_mib=1)) == {}
    assert kinds_of([DomainFacts(vcpus=1, memory_mib=1)]) == {}


async def test_answers_about_a_vm_to_be_placed_are_kept_until_the_host_comes_back():
    questions = Questions(frozenset({"avx2"}))
    known = CpuCompatibility(questions, lambda: None)  # type: ignore[arg-type]
    assert known.answers(GUEST) == {}
    for host in ("a", "b"):
        assert await known.answer(host, GUEST) == {"avx2"}
    known.forget_all_but({})
    assert known.answers(GUEST) == {"a": {"avx2"}, "b": {"avx2"}}
    known.forget("a")
    assert known.answers(GUEST) == {"b": {"avx2"}}
    for number in range(NEW_KINDS_KEPT):
        assert known.answers(replace(GUEST, cpu_xml=f"<cpu>{number}</cpu>")) == {}
    assert known.answers(GUEST) == {}
