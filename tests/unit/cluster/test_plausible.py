from scheduler.cluster.plausible import believed_demand, doubted_hosts
from tests.unit.clusters import cluster, host, vm


def test_a_demand_that_vcpus_cannot_have_counts_as_unknown() -> None:
    assert believed_demand(vm("busy", vcpus=2, cpu_demand_cores=5.9)) == 5.9
    assert believed_demand(vm("misread", vcpus=2, cpu_demand_cores=1024.0)) is None
    assert believed_demand(vm("jumped", vcpus=2, cpu_demand_high_cores=1e300)) is None


def test_a_host_on_which_a_vm_is_larger_than_the_host_is_doubted() -> None:
    snapshot = cluster([host("a"), host("b")], [vm("misread", "a", memory_mib=8192 * 1024), vm("web", "b")])
    text = "misread runs there with 8,388,608 MiB, more than the 65,536 MiB that the host has"
    assert doubted_hosts(snapshot) == {"a": text}


def test_the_largest_machines_are_believed() -> None:
    largest = host("a", cpus=1792, memory_mib=64 * 1024 * 1024, cpu_used_cores=1792.0)
    assert doubted_hosts(cluster([largest], [])) == {}
