from scheduler.cluster.rules import Pin, Rules, Strength
from tests.unit.clusters import cluster, host, verdict, vm

HOSTS = [host("node1"), host("node2"), host("other")]


def test_a_pinned_vm_is_refused_elsewhere() -> None:
    snapshot = cluster(HOSTS, [vm("db-1", "node1"), vm("web", "node1")], Rules(pins=(Pin("db-*", ("node*",)),)))
    assert verdict(snapshot, "db-1", "other") == {"pinned": "pinned to node*"}
    assert verdict(snapshot, "db-1", "node2") == {}
    assert verdict(snapshot, "web", "other") == {}


def test_of_several_pins_all_hold() -> None:
    rules = Rules(pins=(Pin("tag:tier=db", ("node1", "node2")), Pin("uuid-db", ("node2", "other"))))
    snapshot = cluster(HOSTS, [vm("db", "node2", labels={"tier": "db"})], rules)
    assert [not verdict(snapshot, "db", each.name) for each in HOSTS] == [False, True, False]


def test_a_soft_pin_refuses_nothing() -> None:
    rules = Rules(pins=(Pin("web", ("node1",), Strength.SHOULD),))
    assert verdict(cluster(HOSTS, [vm("web", "node1")], rules), "web", "other") == {}
