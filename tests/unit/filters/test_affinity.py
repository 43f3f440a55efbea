from scheduler.cluster.model import VmState
from scheduler.cluster.rules import Affinity, Rules
from tests.unit.clusters import cluster, host, verdict, vm

HOSTS = [host("a"), host("b"), host("c")]
TOGETHER = Rules(affinity=(Affinity(("app", "cache", "queue")),))


def test_a_vm_belongs_where_its_group_runs() -> None:
    snapshot = cluster(HOSTS, [vm("app", "a"), vm("cache", "a")], TOGETHER)
    assert verdict(snapshot, "app", "a") == {}
    assert verdict(snapshot, "app", "b") == {"affinity": "app, cache, queue belong together, they run on a"}


def test_the_first_of_a_group_may_go_anywhere() -> None:
    snapshot = cluster(HOSTS, [vm("app"), vm("cache", "a", state=VmState.STOPPED)], TOGETHER)
    assert [verdict(snapshot, "cache", each.name) for each in HOSTS] == [{}, {}, {}]


def test_a_scattered_group_belongs_where_most_of_it_runs() -> None:
    snapshot = cluster(HOSTS, [vm("app", "a"), vm("cache", "b"), vm("queue", "b")], TOGETHER)
    assert verdict(snapshot, "app", "b") == {}
    assert "affinity" in verdict(snapshot, "app", "a")
    assert "affinity" in verdict(snapshot, "app", "c")


def test_a_vm_of_a_scattered_group_stays_with_those_that_are_with_it() -> None:
    snapshot = cluster(HOSTS, [vm("app", "a"), vm("cache", "a"), vm("queue", "b")], TOGETHER)
    assert verdict(snapshot, "app", "a") == {}
    assert verdict(snapshot, "app", "b") == {"affinity": "app, cache, queue belong together, they run on a"}
    assert "affinity" in verdict(snapshot, "queue", "b")


def test_two_that_are_apart_may_meet_on_either_host() -> None:
    snapshot = cluster(HOSTS, [vm("app", "a"), vm("cache", "b")], TOGETHER)
    assert verdict(snapshot, "app", "b") == {}
    assert verdict(snapshot, "cache", "a") == {}
