from tests.unit.clusters import cluster, host, verdict, vm


def test_an_old_definition_elsewhere_is_not_overwritten() -> None:
    snapshot = cluster([host("a"), host("b"), host("c")], [vm("web", "a", defined_on=("a", "b"))])
    assert list(verdict(snapshot, "web", "b")) == ["already_defined"]
    assert verdict(snapshot, "web", "a") == {}
    assert verdict(snapshot, "web", "c") == {}
