from scheduler.operations.records import MigrationState


async def test_a_migration_ends_on_its_destination_with_its_figures(world):
    uuid = world.vm("web")
    await world.look()
    done = await world.migrate(uuid, "node2")
    assert (done.state, done.error) == (MigrationState.COMPLETED, "")
    assert world.cluster.running_on(uuid) == ["node2"]
    assert world.cluster.defined_on(uuid) == ["node2"]
    states = [record.state for record in world.told]
    assert list(dict.fromkeys(states)) == ["queued", "checking", "migrating", "verifying", "completed"]
