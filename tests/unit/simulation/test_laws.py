"""The laws of the house at every simulated second, while migrations fail, hosts fall silent and forecasts are wrong."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import pytest

from scheduler.cluster.model import Host, Snapshot, Vm
from scheduler.cluster.rules import AntiAffinity, Pin, Rules
from scheduler.config.models import Config
from scheduler.simulation.load import LoadTable, table_of
from scheduler.simulation.loop import run
from scheduler.simulation.meter import Meter
from scheduler.simulation.own import OwnDaemon, config_for
from scheduler.simulation.replay import replay
from scheduler.simulation.scene import Scene
from scheduler.simulation.script import silences

RULES = Rules(pins=(Pin("vm0", ("node0", "node1")),), anti_affinity=(AntiAffinity(("vm[123]",)),))
APART = ("vm1", "vm2", "vm3")
MINUTES = 20
COOLDOWN_S = 1800.0


class Judge(OwnDaemon):
    """The daemon itself, and beside it somebody who looks each second whether a law is broken."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.broken: list[str] = []
        self.seconds = 0
        self._moved_at: dict[str, float] = {}
        self._begun: set[tuple[str, str, str]] = set()

    async def begin(self, scene: Scene, meter: Meter) -> None:
        await super().begin(scene, meter)
        self._tasks.append(asyncio.create_task(self._watch(scene)))

    async def _watch(self, scene: Scene) -> None:
        while True:
            self.seconds += 1
            self.broken += [f"{scene.clock.monotonic():.0f} s: {law}" for law in self._laws(scene)]
            await scene.clock.sleep(1.0)

    def _laws(self, scene: Scene):
        cluster, at_s, under_way = scene.cluster, scene.clock.monotonic(), set(scene.cluster.under_way())
        where = {vm.uuid: cluster.running_on(vm.uuid) for vm in scene.snapshot.vms}
        yield from (f"{uuid} runs on {hosts}" for uuid, hosts in where.items() if len(hosts) != 1)
        for host in scene.snapshot.hosts:
            if scene.free_memory_mib(host) < 0:
                yield f"{host.name} has given away more memory than it has"
        yield from (f"{host} receives {n}" for host, n in Counter(to for _, _, to in under_way).items() if n > 1)
        yield from (f"{host} sends {n}" for host, n in Counter(of for _, of, _ in under_way).items() if n > 2)
        held = [where[uuid][0] for uuid in APART] + [to for uuid, _, to in under_way if uuid in APART]
        if len(set(held)) < len(held):
            yield f"VMs that keep apart are on {held}"
        if where["vm0"][0] not in {"node0", "node1"}:
            yield "the pinned VM has left"
        for move in under_way - self._begun:
            if at_s - self._moved_at.get(move[0], -COOLDOWN_S) < COOLDOWN_S:
                yield f"{move[0]} is moved again too soon"
        for uuid, _, to in self._begun - under_way:
            if where[uuid] == [to]:
                self._moved_at[uuid] = at_s
        self._begun = under_way


def begun(random: Random) -> Snapshot:
    """Six hosts of 8 cores; VMs that keep apart on three of them, the others wherever they fit."""
    hosts = tuple(Host(name=f"node{n}", cpus=8, memory_mib=24576, reserved_memory_mib=1024) for n in range(6))
    places = [0, 1, 2, 3, *(random.choice((0, 0, 1, 2, 3)) for _ in range(16))]
    vms = tuple(
        Vm(
            name=f"vm{n}",
            uuid=f"vm{n}",
            vcpus=4,
            memory_mib=1024 * random.choice((1, 2)),
            host=f"node{place}",
            dirty_mib_per_s=random.uniform(0, 60),
        )
        for n, place in enumerate(places)
    )
    return Snapshot(taken_at=datetime(2026, 11, 24, tzinfo=UTC), hosts=hosts, vms=vms, rules=RULES)


def load(random: Random, snapshot: Snapshot) -> LoadTable:
    """Each VM wants something else every five minutes."""
    times = [300.0 * n for n in range(MINUTES // 5)]
    rows = [(time_s, (vm.uuid, random.uniform(0, 4), None, None)) for time_s in times for vm in snapshot.vms]
    return replace(table_of(rows), end_s=MINUTES * 60.0)


@pytest.mark.parametrize("seed", range(2))
def test_no_law_is_broken_at_any_second(seed: int):
    random = Random(seed)
    snapshot = begun(random)
    written = Config.model_validate({"limits": {"warm_up": "0s", "max_moved_per_hour": 1.0}})
    rules = {key: getattr(config_for(snapshot, None), key) for key in ("pins", "anti_affinity")}
    config = config_for(snapshot, written).model_copy(update=rules)
    judge = Judge(config)
    scene = Scene(snapshot, config.to_planner_settings(), seed=seed, failing_ratio=0.3, forecast_error_ratio=0.6)
    silent = silences([host.name for host in snapshot.hosts], MINUTES * 60.0, 0.03, seed)
    found = run(replay(scene, load(random, snapshot), judge, silent)).figures
    assert judge.broken == []
    assert judge.seconds >= MINUTES * 60
    assert found.migrations + found.migrations_failed > 0
    assert found.reverse_moves == 0


def test_silences_take_their_part_of_the_time_and_are_the_same_each_time():
    found = list(silences(["node1", "node2"], 600 * 60.0, 0.2, 5))
    assert found == list(silences(["node1", "node2"], 600 * 60.0, 0.2, 5))
    away_s = sum(one.time_s * (1 if one.deed == "return" else -1) for one in found)
    assert 0.15 < away_s / (2 * 600 * 60.0) < 0.25
