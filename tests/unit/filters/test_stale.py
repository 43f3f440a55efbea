from tests.unit.clusters import cluster, host, verdict, vm


def test_a_host_with_old_figures_takes_no_vm() -> None:
    snapshot = cluster([host("a"), host("b", stale=True)], [vm("web", "a")])
    assert verdict(snapshot, "web", "b") == {"host_stale": "its figures are too old to decide on"}


def test_a_host_whose_figures_cannot_be_takes_no_vm() -> None:
    snapshot = cluster([host("a"), host("b", memory_mib=65536 * 1024)], [vm("web", "a")])
    text = "its figures are not believed: 67,108,864 MiB of memory for 16 CPUs cannot be"
    assert verdict(snapshot, "web", "b") == {"host_implausible": text}
