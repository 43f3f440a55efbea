"""Starting, reloading and stopping the whole."""

import pytest

from scheduler.cluster.observation import HostFacts
from scheduler.operations.records import MigrationState
from scheduler.web.control import ControlError

from .conftest import AT_ONCE, AUTO, House


async def test_a_good_config_takes_effect_at_once(house: House):
    daemon = await house.go('mode = "observe"\n')
    house.vm("db1", "node1")
    house.write(AUTO + AT_ONCE + '[[pins]]\nvm = "db*"\nhosts = ["node3"]\n')
    text = await house.run(daemon.reload())
    assert "mode: observe -> auto" in text
    assert daemon.service.status().mode == "auto"
    await house.clock.advance(30)
    assert await house.ways() == [("db1", "node1", "node3", "rule")]


async def test_a_bad_config_changes_nothing_and_is_told(house: House):
    daemon = await house.go()
    house.write('mode = "sometimes"\n')
    with pytest.raises(ControlError) as raised:
        await house.run(daemon.reload())
    assert raised.value.kind == "invalid"
    status = daemon.service.status()
    assert status.mode == "auto"
    assert "config.toml: mode" in status.config_error
    metric = "virt_scheduler_config_last_reload_successful"
    assert daemon.metrics.registry.get_sample_value(metric) == 0
    house.write(AUTO)
    await house.run(daemon.reload())
    assert daemon.metrics.registry.get_sample_value(metric) == 1
    assert daemon.service.status().config_error == ""


async def test_what_waits_for_a_restart_is_told_until_it_is_taken_back(house: House):
    daemon = await house.go()
    house.write(AUTO + 'shared_directories = ["/srv"]\n[log]\nlevel = "debug"\n')
    assert (await house.run(daemon.reload())).endswith("(after a restart: shared_directories)")
    await house.run(daemon.reload())
    assert daemon.service.status().config_needs_restart == ["shared_directories"]
    house.write(AUTO)
    await house.run(daemon.reload())
    assert daemon.service.status().config_needs_restart == []


async def test_hosts_come_and_go_with_the_config(house: House):
    house.vm("web1", "node2")
    house.cluster.add_host("node4", HostFacts(cpus=4, memory_mib=8192))
    daemon = await house.go()
    house.write(AUTO, hosts=("node1", "node3", "node4"))
    await house.run(daemon.reload())
    await house.clock.advance(1)
    assert [host.name for host in daemon.service.hosts()] == ["node1", "node3", "node4"]
    assert {host.state for host in daemon.service.hosts()} == {"up"}
    assert daemon.service.snapshot().vms == ()
    sample = daemon.metrics.registry.get_sample_value
    assert sample("virt_scheduler_host_up", {"host": "node2"}) is None
    assert sample("virt_scheduler_host_up", {"host": "node4"}) == 1


async def test_a_host_with_a_new_address_is_looked_at_anew(house: House):
    house.vm("web1", "node2")
    daemon = await house.go()
    house.path.write_text(house.path.read_text().replace("//node2/", "//10.0.0.2/"))
    house.cluster.host("node2").domains.clear()
    await house.run(daemon.reload())
    assert daemon.service.snapshot().vms == ()
    await house.clock.advance(1)
    assert {host.name: host.state for host in daemon.service.hosts()}["node2"] == "up"


async def test_stopping_leaves_migrations_running(house: House):
    uuid = house.vm("web1", "node1", memory_mib=4096)
    daemon = await house.go()
    [record] = await house.run(daemon.service.migrate(["web1"], to="node2", dry_run=False, requested_by="alice"))
    await house.clock.advance(5)
    await house.kill()
    await house.clock.advance(90)
    assert house.cluster.running_on(uuid) == ["node2"]
    again = await house.go()
    await house.clock.advance(5)
    assert (await again.service.migration(record.id)).state is MigrationState.COMPLETED
    assert await house.journal.moves() != []


async def test_a_cordon_outlives_the_daemon(house: House):
    daemon = await house.go()
    await house.run(daemon.service.cordon("node2", requested_by="alice"))
    await house.kill()
    again = await house.go()
    assert [host.detail for host in again.service.hosts()] == ["", "cordoned", ""]


async def test_the_end_of_the_daemon_ends_its_listeners(house: House):
    daemon = await house.go()
    stream = daemon.service.notices(0)
    await house.kill()
    heard = [notice async for notice in stream]
    assert "node1 answers" in {notice.text for notice in heard}
