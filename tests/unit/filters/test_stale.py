from tests.unit.clusters import cluster, host, verdict, vm


def test_a_host_with_old_figures_takes_no_vm() -> None:
    snapshot = cluster([host("a"), host("b", stale=True)], [vm("web", "a")])
    assert verdict(snapshot, "web", "b") == {"host_stale": "its figures are too old to decide on"}
