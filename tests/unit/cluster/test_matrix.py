"""What the hosts' answers about CPUs mean."""

from dataclasses import replace

import pytest

from scheduler.cluster.matrix import BaselineHost, Possible, baseline, judge
from scheduler.cluster.model import Host
from scheduler.cluster.observation import DomainFacts
from scheduler.cluster.ports import CpuAnswer

YES = CpuAnswer(compatible=True)
VENDOR = CpuAnswer(compatible=False, text="CPU vendors do not match")
SILENT = CpuAnswer(compatible=None, text="unsupported")


def lacks(*names: str) -> CpuAnswer:
    return CpuAnswer(compatible=False, missing=frozenset(names))


def guest(*features: str, machine_type: str | None = None) -> DomainFacts:
    return DomainFacts(
        vcpus=1, memory_mib=1, required_cpu_features=frozenset(features), machine_type=machine_type, cpu_xml="<cpu/>"
    )


NODE1 = Host(name="node1", cpus=1, memory_mib=1, hypervisor_version="8.1.0")
NODE2 = Host(name="node2", cpus=1, memory_mib=1, machine_types=frozenset({"pc-7.2"}))


@pytest.mark.parametrize(
    ("at_home", "there", "possible", "missing", "text"),
    [
        (YES, YES, Possible.YES, (), ""),
        (YES, lacks("avx2", "aes"), Possible.NO, ("aes", "avx2"), "CPU lacks aes, avx2"),
        (YES, VENDOR, Possible.NO, ("avx",), "CPU does not fit: CPU vendors do not match (it lacks avx)"),
        (YES, SILENT, Possible.UNKNOWN, (), "node2 cannot tell: unsupported"),
        (
            lacks("svm", "avx"),
            lacks("svm"),
            Possible.UNKNOWN,
            ("svm",),
            "node2 says that its CPU lacks svm, but so does node1, where such a guest runs",
        ),
        (lacks("svm"), lacks("svm", "avx"), Possible.NO, ("avx", "svm"), "CPU lacks avx, svm"),
    ],
    ids=["yes", "no by name", "no in other words", "cannot tell", "false alarm", "partly a false alarm"],
)
def test_a_pair(at_home: CpuAnswer, there: CpuAnswer, possible: Possible, missing: tuple[str, ...], text: str):
    pair = judge(guest("sse", "avx"), NODE1, NODE2, at_home, there, guest("sse"))
    assert (pair.source, pair.destination, pair.possible, pair.missing) == ("node1", "node2", possible, missing)
    assert "; ".join(reason.text for reason in pair.reasons) == text


def test_a_machine_type_that_the_destination_has_not_is_a_no_whatever_the_cpu():
    pair = judge(guest("sse", machine_type="pc-9.0"), NODE1, NODE2, YES, SILENT, None)
    assert pair.possible is Possible.NO
    assert [reason.code for reason in pair.reasons] == ["cpu_unknown", "machine_type"]
    assert judge(guest("sse", machine_type="pc-7.2"), NODE1, NODE2, YES, YES, None).possible is Possible.YES


def test_an_older_hypervisor_and_a_missing_kvm_are_a_no():
    there = replace(NODE2, hypervisor_version="7.2.0", domain_types=frozenset({"qemu"}))
    pair = judge(guest("sse"), NODE1, there, YES, YES, None)
    assert pair.possible is Possible.NO
    assert [reason.text for reason in pair.reasons] == ["QEMU 7.2.0 is older than 8.1.0", "offers no kvm"]


def test_the_oldest_host_holds_the_baseline_back_and_each_other_loses():
    found = baseline(
        guest("sse"),
        {"old": guest("sse"), "mid": guest("sse", "aes"), "new": guest("sse", "aes", "avx")},
        {"old": "Nehalem"},
        (),
    )
    assert (found.features, found.held_back_by) == (("sse",), ("old",))
    assert found.hosts == (
        BaselineHost(name="old", cpu_model="Nehalem", loses=(), holds_back=("aes",)),
        BaselineHost(name="mid", cpu_model=None, loses=("aes",), holds_back=()),
        BaselineHost(name="new", cpu_model=None, loses=("aes", "avx"), holds_back=()),
    )


@pytest.mark.parametrize(
    ("hosts", "held_back_by"),
    [
        ({"a": ("sse",), "b": ("sse",), "c": ("sse", "aes")}, ("a", "b")),
        ({"a": ("sse",), "b": ("sse",)}, ()),
        ({"a": ("sse", "aes")}, ()),
        ({"a": ("sse", "aes"), "b": ("sse", "avx")}, ("a", "b")),
    ],
    ids=["two alike", "all alike", "alone", "each lacks something"],
)
def test_who_holds_back(hosts: dict[str, tuple[str, ...]], held_back_by: tuple[str, ...]):
    guests = {name: guest(*features) for name, features in hosts.items()}
    shared = frozenset.intersection(*map(frozenset, hosts.values()))
    assert baseline(guest(*shared), guests, {}, ()).held_back_by == held_back_by
