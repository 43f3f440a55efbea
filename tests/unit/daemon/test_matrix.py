"""What can move where, asked of simulated hosts."""

from dataclasses import replace

import pytest

from scheduler.cluster.matrix import Matrix
from scheduler.web.control import ControlError

from .conftest import AT_ONCE, AUTO, House

SIX = {
    ("node1", "node2"): "yes", ("node1", "node3"): "yes", ("node2", "node3"): "yes",
    ("node2", "node1"): "no", ("node3", "node1"): "no", ("node3", "node2"): "no",
}  # fmt: skip
"""Only towards newer hosts."""


@pytest.fixture
def generations(house: House) -> House:
    """node1 is the oldest, node3 the newest."""
    for name, features in (("node1", ["sse"]), ("node2", ["sse", "aes"]), ("node3", ["sse", "aes", "avx"])):
        host = house.cluster.host(name)
        host.facts = replace(host.facts, cpu_features=frozenset(features))
    return house


def possible(matrix: Matrix) -> dict[tuple[str, str], str]:
    return {(pair.source, pair.destination): pair.possible.value for pair in matrix.pairs}


async def ask(house: House, vm: str | None = None) -> Matrix:
    return await house.run(house.daemon.service.matrix(vm))


async def test_host_model_guests_move_towards_newer_hosts_only(generations: House):
    await generations.start()
    matrix = await ask(generations)
    assert possible(matrix) == SIX
    missing = {(pair.source, pair.destination): pair.missing for pair in matrix.pairs}
    assert missing["node3", "node1"] == ("aes", "avx")
    assert (matrix.vm, [host.name for host in matrix.hosts]) == (None, ["node1", "node2", "node3"])


async def test_what_a_host_does_not_answer_is_unknown_and_why(generations: House):
    await generations.start()
    generations.cluster.host("node1").cpu_verdict_unknown = True
    generations.cluster.cut("node3")
    await generations.clock.settle()
    matrix = await ask(generations)
    assert possible(matrix) == {way: "yes" if way == ("node1", "node2") else "unknown" for way in SIX}
    why = {(pair.source, pair.destination): pair.reasons[0].text for pair in matrix.pairs if pair.reasons}
    assert why["node2", "node1"] == "node1 cannot tell: this host cannot compare CPUs"
    assert why["node3", "node1"] == why["node1", "node3"] == "the libvirt of node3 does not answer"


async def test_of_a_vm_everything_counts_that_holds_for_it(generations: House):
    generations.vm("db1", "node2", cpu_xml="<cpu/>", required_cpu_features=frozenset({"sse", "aes"}))
    generations.vm("big", "node3", memory_mib=15000)
    await generations.start(AUTO + AT_ONCE)
    matrix = await ask(generations, "db1")
    assert (matrix.vm, matrix.host) == ("db1", "node2")
    assert possible(matrix) == SIX | {
        ("node1", "node2"): "no", ("node1", "node3"): "no", ("node2", "node3"): "no", ("node3", "node2"): "yes",
    }  # fmt: skip
    reasons = {(pair.source, pair.destination): [reason.code for reason in pair.reasons] for pair in matrix.pairs}
    assert reasons["node2", "node3"] == ["memory_short"]
    assert reasons["node1", "node2"] == ["not_on_source"]
    assert reasons["node2", "node1"] == ["cpu_missing"]
    with pytest.raises(ControlError, match="no VM"):
        await ask(generations, "nobody")


async def test_a_stopped_vm_gets_the_cpu_of_the_host_it_starts_on(generations: House):
    generations.vm("off", "node1", running=False, cpu_xml="<cpu mode='host-model'/>")
    await generations.start()
    assert possible(await ask(generations, "off")) == SIX
    generations.cluster.cut("node2")
    await generations.clock.settle()
    assert possible(await ask(generations, "off"))["node2", "node3"] == "unknown"


async def test_the_cpu_that_all_hosts_share(generations: House):
    await generations.start()
    generations.cluster.cut("node2", "no route")
    await generations.clock.settle()
    found = await generations.run(generations.daemon.service.baseline())
    assert found.features == ("sse",)
    assert found.cpu_xml.startswith("<cpu")
    assert found.held_back_by == ("node1",)
    assert {host.name: host.loses for host in found.hosts} == {"node1": (), "node3": ("aes", "avx")}
    assert [left.name for left in found.left_out] == ["node2"]


@pytest.mark.parametrize(
    ("features", "text"),
    [(frozenset({"neon"}), "nothing in common"), (frozenset({"sse"}), "does not run on node1")],
    ids=["nothing shared", "not accepted"],
)
async def test_no_cpu_in_common_is_refused(generations: House, features: frozenset[str], text: str):
    host = generations.cluster.host("node1")
    host.facts = replace(host.facts, cpu_features=features)
    host.cpu_verdict_unknown = True
    await generations.start()
    with pytest.raises(ControlError, match=text) as raised:
        await generations.run(generations.daemon.service.baseline())
    assert raised.value.kind == "refused"


async def test_no_baseline_without_hosts_that_answer(generations: House):
    await generations.start()
    for name in ("node1", "node2", "node3"):
        generations.cluster.cut(name)
    await generations.clock.settle()
    with pytest.raises(ControlError, match="no host tells") as raised:
        await generations.run(generations.daemon.service.baseline())
    assert raised.value.kind == "unavailable"
