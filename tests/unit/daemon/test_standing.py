"""Metrics of a whole daemon that tell what stands badly, and tell it no longer when it does not."""

from prometheus_client import generate_latest

from .conftest import AT_ONCE, AUTO, HOSTS, House

PINNED = '[[pins]]\nvm = "db*"\nhosts = ["node3"]\n'


def value(house: House, name: str, **labels: str) -> float | None:
    return house.daemon.metrics.registry.get_sample_value(f"virt_scheduler_{name}", labels)


async def test_a_loss_that_could_not_be_borne_is_told_until_it_could(house: House) -> None:
    large = [house.vm(f"large-{host}", host, memory_mib=10240) for host in HOSTS]
    await house.go()
    await house.clock.advance(70)
    assert [value(house, "host_loss_homeless_vms", host=host) for host in HOSTS] == [1, 1, 1]
    house.cluster.end_guest("node1", large[0])
    await house.clock.advance(70)
    assert [value(house, "host_loss_homeless_vms", host=host) for host in HOSTS] == [0, 0, 0]


async def test_a_broken_rule_and_a_vm_that_cannot_leave_are_told_until_the_vm_is_gone(house: House) -> None:
    uuid = house.vm("db1", "node1", blockers=("a PCI device",))
    await house.go(AUTO + AT_ONCE + PINNED)
    await house.clock.advance(70)
    assert value(house, "vms_misplaced", rule="pinned") == 1
    assert value(house, "vms_unmoved", host="node1", reason="not_movable") == 1
    house.cluster.end_guest("node1", uuid)
    await house.clock.advance(70)
    assert value(house, "vms_misplaced", rule="pinned") == 0
    assert value(house, "vms_unmoved", host="node1", reason="not_movable") is None


async def test_what_the_gate_holds_back_counts_as_not_moved(house: House) -> None:
    for number in range(4):
        house.vm(f"web{number}", "node1", cores=3.0)
    await house.go(AUTO)  # with the warm-up
    await house.clock.advance(200)
    assert value(house, "host_contended_seconds", host="node1") > 120
    assert value(house, "vms_unmoved", host="node1", reason="warm_up") >= 1


async def test_a_host_that_left_the_config_has_no_series_any_more(house: House) -> None:
    house.vm("web1", "node3")
    daemon = await house.go()
    await house.run(daemon.service.migrate(["web1"], to="node2", dry_run=False, requested_by="alice"))
    await house.clock.advance(60)
    assert value(house, "migrations_total", source="node3", destination="node2", trigger="manual", outcome="completed")
    assert 'node3"' in generate_latest(daemon.metrics.registry).decode()
    house.write(AUTO, HOSTS[:2])
    await house.run(daemon.reload())
    assert 'node3"' not in generate_latest(daemon.metrics.registry).decode()
    await house.clock.advance(120)
    assert 'node3"' not in generate_latest(daemon.metrics.registry).decode()


async def test_it_leads_from_when_it_is_ready_to_its_end(house: House) -> None:
    daemon = await house.start()
    assert value(house, "leader") == 1
    await house.run(daemon.stop())
    assert value(house, "leader") == 0
