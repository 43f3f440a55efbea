"""Hosts leave the config while something is under way there, and come back."""

from scheduler.operations.records import MigrationState

from .conftest import AT_ONCE, AUTO, House

SLOW = AUTO + AT_ONCE + '[migration]\nbandwidth = "100MiB/s"\n'


def states(house: House) -> dict[str, str]:
    return {host.name: host.state for host in house.daemon.service.hosts()}


async def begin(house: House, vm: str, to: str) -> int:
    [record] = await house.run(house.daemon.service.migrate([vm], to=to, dry_run=False, requested_by="alice"))
    return record.id


async def test_a_host_that_a_vm_migrates_from_is_let_go_when_it_has_arrived(house: House):
    uuid = house.vm("web1", "node1", memory_mib=4096)
    house.vm("web2", "node1")
    daemon = await house.go(SLOW)
    migration = await begin(house, "web1", "node2")
    await house.clock.advance(5)
    house.write(SLOW, hosts=("node2", "node3"))
    told = await house.run(daemon.reload())
    assert told == "host node1 removed (let go when nothing is under way there: node1)"
    assert states(house)["node1"] == "maintenance"
    assert daemon.service.hosts()[0].detail == "out of the config, let go when nothing is under way there"
    await house.clock.advance(100)
    assert (await daemon.service.migration(migration)).state is MigrationState.COMPLETED
    assert house.cluster.running_on(uuid) == ["node2"]
    assert states(house) == {"node2": "up", "node3": "up"}
    assert [vm.name for vm in daemon.service.snapshot().vms] == ["web1"]


async def test_nothing_begins_on_a_leaving_host_and_what_waited_is_dropped(house: House):
    for name in ("web1", "web2", "web3"):
        house.vm(name, "node1", memory_mib=4096)
    daemon = await house.go(SLOW)
    running, waiting = await begin(house, "web1", "node2"), await begin(house, "web2", "node2")
    await house.clock.advance(2)
    house.write(SLOW, hosts=("node1", "node3"))
    await house.run(daemon.reload())
    refused = await begin(house, "web3", "node2")
    assert (await daemon.service.migration(refused)).state is MigrationState.FAILED
    away = await begin(house, "web1", "node3")
    assert (await daemon.service.migration(away)).state is MigrationState.FAILED
    await house.clock.advance(100)
    assert (await daemon.service.migration(running)).state is MigrationState.COMPLETED
    dropped = await daemon.service.migration(waiting)
    assert (dropped.state, dropped.error) == (MigrationState.ABORTED, "node2 was taken out of the config")
    assert states(house) == {"node1": "up", "node3": "up"}


async def test_a_host_that_comes_back_in_time_stays(house: House):
    house.vm("web1", "node1", memory_mib=4096)
    daemon = await house.go(SLOW)
    migration = await begin(house, "web1", "node2")
    await house.clock.advance(2)
    house.write(SLOW, hosts=("node1", "node3"))
    await house.run(daemon.reload())
    house.write(SLOW)
    await house.run(daemon.reload())
    assert states(house) == {"node1": "up", "node2": "up", "node3": "up"}
    await house.clock.advance(100)
    assert (await daemon.service.migration(migration)).state is MigrationState.COMPLETED
    assert states(house) == {"node1": "up", "node2": "up", "node3": "up"}


async def test_a_new_address_is_gone_to_when_the_migration_has_ended(house: House):
    house.vm("web1", "node1", memory_mib=4096)
    daemon = await house.go(SLOW)
    migration = await begin(house, "web1", "node2")
    await house.clock.advance(2)
    house.path.write_text(house.path.read_text().replace("//node2/", "//10.0.0.2/"))
    await house.run(daemon.reload())
    uris = {host.name: host.uri for host in daemon.service.hosts()}
    assert uris["node2"] == "qemu+tls://node2/system"
    await house.clock.advance(100)
    assert (await daemon.service.migration(migration)).state is MigrationState.COMPLETED
    uris = {host.name: host.uri for host in daemon.service.hosts()}
    assert uris["node2"] == "qemu+tls://10.0.0.2/system"
    assert states(house)["node2"] == "up"


async def test_the_drain_of_a_leaving_host_asks_for_nothing_more(house: House):
    for name in ("web1", "web2", "web3", "web4"):
        house.vm(name, "node1", memory_mib=4096)
    daemon = await house.go(SLOW)
    await house.run(daemon.service.drain("node1", dry_run=False, requested_by="alice"))
    await house.clock.advance(2)
    house.write(SLOW, hosts=("node2", "node3"))
    await house.run(daemon.reload())
    await house.clock.advance(200)
    assert states(house) == {"node2": "up", "node3": "up"}
    assert [vm for vm, *_ in await house.ways()] == ["web1", "web2"]
    house.write(SLOW)
    await house.run(daemon.reload())
    await house.clock.advance(2)
    assert states(house)["node1"] == "maintenance"


async def test_the_end_of_the_daemon_does_not_wait_for_a_leaving_host(house: House):
    uuid = house.vm("web1", "node1", memory_mib=4096)
    daemon = await house.go(SLOW)
    await begin(house, "web1", "node2")
    await house.clock.advance(2)
    house.write(SLOW, hosts=("node1", "node3"))
    await house.run(daemon.reload())
    await house.kill()
    await house.clock.advance(100)
    assert house.cluster.running_on(uuid) == ["node2"]
