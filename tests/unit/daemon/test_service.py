"""Every use case of the API, and what each refuses."""

import pytest

from scheduler.operations.records import MigrationState, PlacementOutcome
from scheduler.web.control import ControlError

from .conftest import AT_ONCE, AUTO, House, definition

PINNED = '[[pins]]\nvm = "db*"\nhosts = ["node3"]\n'


def control_error(raised: pytest.ExceptionInfo[ControlError]) -> tuple[str, str]:
    return raised.value.kind, raised.value.text


async def migrate(house: House, *vms: str, to: str | None = None, dry_run: bool = False):
    return await house.run(house.daemon.service.migrate(vms, to=to, dry_run=dry_run, requested_by="alice"))


async def start(house: House, *vms: str, host: str | None = None, dry_run: bool = False):
    return await house.run(house.daemon.service.start(vms, host=host, dry_run=dry_run, requested_by="alice"))


async def test_status_and_hosts(house: House):
    house.vm("web1", "node1", memory_mib=4096)
    house.vm("off", "node1", running=False)
    daemon = await house.start()
    await house.cycle()
    status = daemon.service.status()
    assert (status.hosts_up, status.hosts_total, status.vms_running, status.vms_total) == (3, 3, 1, 2)
    assert (status.mode, status.ready, status.config_path, status.config_error) == ("auto", True, str(house.path), "")
    [node1, *_] = daemon.service.hosts()
    assert (node1.vms_running, node1.committed_memory_mib, node1.free_memory_mib) == (1, 4096, 16384 - 1024 - 4096)
    assert node1.uri == "qemu+tls://node1/system"


async def test_a_vm_on_its_way_counts_on_both_hosts(house: House):
    house.vm("web1", "node1", memory_mib=4096)
    daemon = await house.start()
    await migrate(house, "web1", to="node2")
    committed = {host.name: host.committed_memory_mib for host in daemon.service.hosts()}
    assert committed == {"node1": 4096, "node2": 4096, "node3": 0}


async def test_verdicts_say_where_a_vm_may_be(house: House):
    house.vm("db1", "node3")
    house.vm("off", "node1", running=False)
    daemon = await house.start(AUTO + PINNED)
    assert {one.host: one.allowed for one in await daemon.service.verdicts("db1", None)}["node1"] is False
    assert {one.host for one in await daemon.service.verdicts("off", None) if one.allowed} == {
        "node1",
        "node2",
        "node3",
    }
    [verdict] = await daemon.service.verdicts("db1", "node2")
    assert verdict.reasons
    with pytest.raises(ControlError) as raised:
        await daemon.service.verdicts("db1", "node9")
    assert control_error(raised) == ("not_found", "there is no host 'node9'; the hosts are node1, node2, node3")


async def test_a_dry_run_tries_the_way_between_the_hosts(house: House):
    house.vm("web1", "node1")
    await house.start()
    house.cluster.host("node2").peer_error = "authentication failed"
    [refused] = await migrate(house, "web1", to="node2", dry_run=True)
    assert refused.state is MigrationState.FAILED
    assert "node1 cannot reach the libvirt of node2" in refused.error
    assert "authentication failed" in refused.error
    assert "check --connect" in refused.error
    [possible] = await migrate(house, "web1", to="node3", dry_run=True)
    assert possible.error == ""


@pytest.mark.parametrize("hanging", ["node1", "node2"])
async def test_a_migration_from_or_to_a_host_that_hangs_is_refused_without_long_waiting(house: House, hanging: str):
    house.vm("web1", "node1")
    await house.start()
    house.cluster.host(hanging).frozen = True
    began_s = house.clock.monotonic()
    [refused] = await migrate(house, "web1", to="node2")
    assert house.clock.monotonic() - began_s < 5
    assert refused.state is MigrationState.FAILED
    assert "does not answer" in refused.error


async def test_names_globs_tags_and_uuids(house: House):
    uuid = house.vm("web1", "node1", labels={"tier": "front"})
    house.vm("web2", "node1")
    house.vm("web3", "node1", running=False)
    await house.start()
    assert [one.vm for one in await migrate(house, "web*", dry_run=True)] == ["web1", "web2"]
    assert [one.vm for one in await migrate(house, "tag:tier=front", dry_run=True)] == ["web1"]
    assert [one.vm for one in await migrate(house, uuid, "web1", "web2", dry_run=True)] == ["web1", "web2"]
    assert [one.vm for one in await start(house, "web*", dry_run=True)] == ["web3"]


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("nobody", "not_found", "there is no VM 'nobody'"),
        ("x*", "not_found", "'x*' means no VM"),
        ("tag:none", "not_found", "'tag:none' means no VM"),
        ("twin", "conflict", "twin means several VMs: "),
    ],
)
async def test_what_names_no_vm_or_several(house: House, name: str, kind: str, text: str):
    first = house.vm("twin", "node1")
    facts = house.cluster.host("node1").domains[first].facts
    house.cluster.add_vm("node2", "twin", facts, uuid="00000000-0000-0000-0000-000000000001")
    await house.start()
    for ask in (migrate, start):
        with pytest.raises(ControlError) as raised:
            await ask(house, name)
        assert raised.value.kind == kind
        assert raised.value.text.startswith(text)


async def test_unknown_hosts_are_refused_before_anything_is_done(house: House):
    house.vm("web1", "node1")
    service = (await house.start()).service
    asks = [
        service.place([definition("new")], host="node9", dry_run=False, requested_by=""),
        service.start(["web1"], host="node9", dry_run=False, requested_by=""),
        service.migrate(["web1"], to="node9", dry_run=False, requested_by=""),
        service.cordon("node9", requested_by=""),
        service.uncordon("node9", requested_by=""),
        service.drain("node9", dry_run=False, requested_by=""),
    ]
    for ask in asks:
        with pytest.raises(ControlError) as raised:
            await house.run(ask)
        assert raised.value.kind == "not_found"


async def test_a_bad_definition_is_refused_with_its_place_and_nothing_is_started(house: House):
    service = (await house.start()).service
    with pytest.raises(ControlError) as raised:
        await house.run(service.place([definition("good"), "<domain>"], host=None, dry_run=False, requested_by="alice"))
    assert raised.value.kind == "invalid"
    assert raised.value.text.startswith("definitions[1]: ")
    assert await service.placements(limit=10) == []


async def test_several_vms_see_the_room_taken_by_those_before(house: House):
    service = (await house.start()).service
    texts = [definition(f"big{number}", memory_mib=9000) for number in range(4)]
    records = await house.run(service.place(texts, host=None, dry_run=False, requested_by="alice"))
    assert sorted(one.host or "" for one in records) == ["", "node1", "node2", "node3"]
    assert records[3].outcome is PlacementOutcome.REFUSED
    assert [one.vm for one in await service.placements(limit=10)] == ["big3", "big2", "big1", "big0"]


@pytest.mark.parametrize("dry_run", [False, True])
async def test_migrations_in_one_request_see_each_other(house: House, dry_run: bool):
    for number in range(3):
        house.vm(f"web{number}", "node1", memory_mib=5000)
    for host in ("node2", "node3"):
        house.vm(f"half-{host}", host, memory_mib=8000)
    await house.start()
    records = await migrate(house, "web*", dry_run=dry_run)
    assert sorted(one.destination for one in records) == ["", "node2", "node3"]
    assert [one.state for one in records].count(MigrationState.FAILED) == 1


async def test_a_dry_run_does_nothing(house: House):
    uuid = house.vm("web1", "node1")
    daemon = await house.start()
    service = daemon.service
    [would] = await migrate(house, "web1", to="node2", dry_run=True)
    assert (would.state, would.error) == (MigrationState.QUEUED, "")
    [placed] = await house.run(service.place([definition("new")], host=None, dry_run=True, requested_by="alice"))
    assert placed.outcome is PlacementOutcome.DRY_RUN
    plan = await house.run(service.drain("node1", dry_run=True, requested_by="alice"))
    assert [step["vm"] for step in plan["steps"]] == ["web1"]  # type: ignore[attr-defined]
    await house.clock.advance(60)
    assert house.cluster.running_on(uuid) == ["node1"]
    assert await service.migrations(limit=10) == []
    assert await service.placements(limit=10) == []
    assert {host.state for host in service.hosts()} == {"up"}


async def test_what_cannot_move_is_returned_as_failed_with_the_reason(house: House):
    house.vm("db1", "node3")
    house.vm("off", "node1", running=False)
    await house.start(AUTO + PINNED)
    for name in ("db1", "off"):
        for dry_run in (True, False):
            [record] = await migrate(house, name, to="node2", dry_run=dry_run)
            assert record.state is MigrationState.FAILED
            assert record.error
    [record] = await migrate(house, "off")
    assert record.state is MigrationState.FAILED


async def test_abort_and_its_races(house: House):
    uuid = house.vm("web1", "node1", memory_mib=4096)
    service = (await house.start()).service
    [record] = await migrate(house, "web1", to="node2")
    await house.clock.advance(5)
    assert (await service.migration(record.id)).progress_ratio
    await house.run(service.abort(record.id, requested_by="alice"))
    await house.clock.advance(10)
    assert (await service.migration(record.id)).state is MigrationState.ABORTED
    assert house.cluster.running_on(uuid) == ["node1"]
    with pytest.raises(ControlError) as raised:
        await house.run(service.abort(record.id, requested_by="alice"))
    assert control_error(raised) == ("conflict", f"migration {record.id} of web1 has ended: aborted")
    for ask in (lambda number: service.abort(number, requested_by="alice"), service.migration):
        with pytest.raises(ControlError) as raised:
            await house.run(ask(99))
        assert raised.value.kind == "not_found"


async def test_cordon_and_uncordon(house: House):
    house.vm("web1", "node1")
    service = (await house.start()).service
    status = await house.run(service.cordon("node2", requested_by="alice"))
    assert (status.state, status.detail) == ("maintenance", "cordoned")
    [record] = await migrate(house, "web1", to="node2")
    assert record.state is MigrationState.FAILED
    status = await house.run(service.uncordon("node2", requested_by="alice"))
    assert (status.state, status.detail) == ("up", "")


async def recommended(house: House) -> int:
    house.vm("db1", "node1")
    daemon = await house.start('mode = "recommend"\n' + PINNED)
    await house.cycle()
    [waiting] = await daemon.service.recommendations()
    return waiting.id


async def test_approving_does_it_once(house: House):
    number = await recommended(house)
    service = house.daemon.service
    record = await house.run(service.approve(number, requested_by="alice"))
    assert (record.trigger, record.requested_by) == ("recommendation", "alice")
    with pytest.raises(ControlError) as raised:
        await house.run(service.approve(number, requested_by="bob"))
    assert control_error(raised) == ("conflict", f"recommendation {number} is approved")
    with pytest.raises(ControlError) as raised:
        await house.run(service.approve(77, requested_by="bob"))
    assert raised.value.kind == "not_found"


async def test_a_stale_recommendation_is_not_carried_out(house: House):
    number = await recommended(house)
    service = house.daemon.service
    house.vm("giant", "node3", memory_mib=15000)
    with pytest.raises(ControlError) as raised:
        await house.run(service.approve(number, requested_by="alice"))
    assert raised.value.kind == "refused"
    assert raised.value.reasons
    house.cluster.end_guest("node1", service.snapshot().vm("db1").uuid)
    with pytest.raises(ControlError) as raised:
        await house.run(service.approve(number, requested_by="alice"))
    assert raised.value.kind == "refused"
    assert await service.migrations(limit=10) == []


async def test_a_dismissed_recommendation_is_not_made_again(house: House):
    for number in range(4):
        house.vm(f"web{number}", "node1", cores=3.0)
    daemon = await house.go('mode = "recommend"\n' + AT_ONCE)
    await house.clock.advance(200)
    waiting = await daemon.service.recommendations()
    assert waiting
    for one in waiting:
        await house.run(daemon.service.dismiss(one.id, requested_by="alice"))
    await house.clock.advance(200)
    dismissed = {one.uuid for one in waiting}
    assert not dismissed & {one.uuid for one in await daemon.service.recommendations()}
    with pytest.raises(ControlError) as raised:
        await house.run(daemon.service.dismiss(waiting[0].id, requested_by="alice"))
    assert raised.value.kind == "conflict"


async def test_a_dismissed_recommendation_to_mend_a_rule_is_not_made_again(house: House):
    number = await recommended(house)
    service = house.daemon.service
    await house.run(service.dismiss(number, requested_by="alice"))
    decision = await house.cycle()
    assert await service.recommendations() == []
    assert decision.kind == "blocked"
    assert "held back db1" in decision.sentence


async def test_a_dry_run_of_several_starts_takes_their_room_one_after_the_other(house: House):
    daemon = await house.start()
    four = [definition(f"big{number}", memory_mib=10240) for number in range(4)]
    would = await house.run(daemon.service.place(four, host=None, dry_run=True, requested_by="alice"))
    assert [one.outcome.value for one in would] == ["dry_run", "dry_run", "dry_run", "refused"]
    assert {one.host for one in would[:3]} == {"node1", "node2", "node3"}
    [alone] = await house.run(daemon.service.place(four[3:], host=None, dry_run=True, requested_by="alice"))
    assert alone.outcome is PlacementOutcome.DRY_RUN
