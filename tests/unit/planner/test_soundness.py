"""What a cluster is asked for and cannot give is told with the least that shows it."""

from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Priority, Rules, Strength
from scheduler.planner.soundness import soundness
from tests.unit.clusters import cluster, host, vm

HOSTS = [host("a"), host("b")]


def told(rules: Rules, names: str = "web1 web2 web3 db", **of_each: int) -> dict[str, list[str]]:
    """What is found with these VMs on host a, by check."""
    found: dict[str, list[str]] = {}
    for flaw in soundness(cluster(HOSTS, [vm(name, "a", **of_each) for name in names.split()], rules)):
        where = f"{flaw.host}: " if flaw.host else ""
        found.setdefault(flaw.check, []).append(where + flaw.text)
    return found


def test_a_sound_cluster_has_no_flaw() -> None:
    assert (
        told(Rules(pins=(Pin("db", ("a", "b")),), anti_affinity=(AntiAffinity(("web1", "web2"), max_per_host=2),)))
        == {}
    )


def test_a_group_larger_than_its_hosts_is_told_with_as_few_vms_as_show_it() -> None:
    rules = Rules(anti_affinity=(AntiAffinity(("web*", "db")),))
    assert told(rules)["rules"] == ["cannot hold for web1, web2, web3: web*, db apart, at most 1 a host"]


def test_a_pin_against_an_anti_affinity_is_told_without_the_rules_that_are_innocent() -> None:
    rules = Rules(
        pins=(Pin("db", ("b",)), Pin("web[12]", ("a",)), Pin("web1", ("b",), Strength.SHOULD)),
        anti_affinity=(AntiAffinity(("web1", "web2")),),
    )
    assert told(rules)["rules"] == ["cannot all hold for web1, web2: web[12] on a; web1, web2 apart, at most 1 a host"]


def test_vms_that_belong_together_are_too_large_for_any_host() -> None:
    found = told(Rules(affinity=(Affinity(("web*",)),)), memory_mib=30_000)
    assert found["rules"] == [
        "cannot all hold for web1, web2, web3: web* together; the memory that the hosts have for VMs"
    ]


def test_selectors_without_vm_or_host_are_told() -> None:
    rules = Rules(
        pins=(Pin("gone", ("a",)), Pin("db", ("c*",), Strength.SHOULD)),
        anti_affinity=(AntiAffinity(("web*",), max_per_host=2, against=("tag:batch",)),),
        affinity=(Affinity(("db", "cache"), Strength.SHOULD),),
        priorities=(Priority(("vip-*",), 2),),
    )
    assert told(rules)["selector"] == [
        "pins[0]: gone means no VM",
        "pins[1]: c* means no host",
        "anti_affinity[0]: tag:batch means no VM",
        "affinity[0]: cache means no VM",
        "priorities[0]: vip-* means no VM",
    ]


def test_a_loss_that_cannot_be_borne_is_told_with_as_few_vms_as_show_it() -> None:
    vms = [vm(f"big{n}", "ab"[n % 2], memory_mib=20_000) for n in range(4)] + [vm("small", "a", memory_mib=1_000)]
    flaws = soundness(cluster(HOSTS, vms))
    assert [(flaw.check, flaw.host, flaw.text) for flaw in flaws] == [
        ("loss", "a", "if it is lost, a VM finds no place: already not big0, big2 (40,000 MiB)"),
        ("loss", "b", "if it is lost, a VM finds no place: already not big1, big3 (40,000 MiB)"),
    ]


def test_of_many_losses_that_cannot_be_borne_only_some_are_told_in_detail() -> None:
    hosts = [host(f"h{n:02}") for n in range(12)]
    vms = [vm(f"{one.name}-{n}", one.name, memory_mib=33_000) for one in hosts for n in range(1)]
    full = [vm(f"{one.name}-x", one.name, memory_mib=30_000) for one in hosts]
    found = soundness(cluster(hosts, vms + full))
    assert len(found) == 11
    assert found[-1].text == "nor could the loss of 2 more hosts be borne"
