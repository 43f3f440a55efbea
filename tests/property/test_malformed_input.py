"""Whatever a snapshot, a VM or a plan file holds: it is used, or refused with 2 and one line that names the place."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from scheduler.cli.main import main
from scheduler.cluster.codec import dump_snapshot
from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Rules
from tests.unit.clusters import cluster, host, vm

JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**30, 10**400, -(10**400), 1e308, float("nan"), float("inf"), float("-inf"),
    "", "x", "\ud800", "a\nb", "\x00", "\u2028", "2026-13-45T99:00:00Z", "2026-11-23T10:00:00", [], {}, [[]],
    [None], {"": 1}, {"a\nb": "c"}, {"name": "x"},
)  # fmt: skip
SNAPSHOT = json.loads(
    dump_snapshot(
        cluster(
            [host("a", cpu_used_cores=3.0, labels={"rack": "1"}), host("b", cpu_features=frozenset({"avx"}), cpus=4)],
            [
                vm("web1", "a", cpu_missing_on={"b": frozenset({"avx"})}, labels={"tier": "web"}, memory_used_mib=9.0),
                vm("web2", "a", not_to={"b": "came from there"}, blockers=("a disk",), dirty_mib_per_s=1.0),
                vm("off"),
            ],
            Rules((Pin("web*", ("a", "b")),), (AntiAffinity(("web*",)),), (Affinity(("off", "web1")),)),
        )
    )
)
VM = {"name": "new", "vcpus": 1, "memory_mib": 1024, "storage": ["pool"], "labels": {"tier": "web"}}
PLAN = {"steps": [{"vm": "web1", "source": "a", "destination": "b", "batch": 1}], "summary": "1 move"}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place inside a JSON value: the list or object that holds it, and its index or key there."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def spoiled(good: Any, random: Random) -> bytes:
    """The JSON of `good` with one to three things done to it, or not even JSON any more."""
    bad = json.loads(json.dumps(good))
    for _ in range(random.randint(1, 3)):
        holder, key = random.choice(list(places({"all": bad}))[1:] or [({}, None)])
        junk = deepcopy(random.choice(JUNK))
        match random.randrange(5):
            case 0 if key is not None:
                holder.pop(key)
            case 1 if isinstance(holder, dict) and key is not None:
                holder[random.choice(["extra", "a\nb", "\ud800", key + "s"])] = holder.pop(key)
            case 2 if isinstance(holder, list):
                holder.append(holder[key])
            case 3 if key is not None:
                holder[key] = [holder[key]]
            case _ if key is not None:
                holder[key] = junk
        if not places_left(bad):
            break
    return _as_bytes(random.choice(JUNK) if random.random() < 0.03 else bad, random)


def places_left(value: Any) -> bool:
    return isinstance(value, dict | list) and len(value) > 0


def _as_bytes(value: Any, random: Random) -> bytes:
    text = json.dumps(value)
    match random.randrange(12):
        case 0:
            text = text[: random.randrange(len(text))]
        case 1:
            key = json.dumps(random.choice(["name", "host", "vms", "version", "steps"]))
            text = text.replace(key, f"{key}: {random.choice(['1', '{}', 'null'])}, {key}", 1)
        case 2:
            text = text.replace("1024", "[" * 3000 + "]" * 3000).replace("65536", "1" * 5000)
        case 3:
            return text.encode().replace(b"web1", b"web\xff")
        case 4:
            return text.encode(random.choice(["utf-16", "utf-8-sig"]))
        case 5:
            text = random.choice(["", " ", "{", "[]]", text + text, "\x00"])
    return text.encode()


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def check(result: Result) -> None:
    """It did its work, or said in one line where the mistake is."""
    assert result.exit_code in (0, 2, 3), result.exception
    if result.exit_code == 2:
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert line.startswith("virt-scheduler: ")
        assert "file.json: " in line or "--vm: " in line


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("malformed")
    (directory / "good.json").write_text(json.dumps(SNAPSHOT), encoding="utf-8")
    return directory


@hypothesis_settings(max_examples=200, deadline=None)
@given(st.integers(0, 1_000_000))
def test_a_spoiled_snapshot(directory: Path, seed: int) -> None:
    file = directory / "file.json"
    file.write_bytes(spoiled(SNAPSHOT, Random(seed)))
    check(invoke("plan", "--snapshot", file, "--json"))


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.integers(0, 1_000_000))
def test_a_spoiled_vm(directory: Path, seed: int) -> None:
    file = directory / "file.json"
    file.write_bytes(spoiled([VM], Random(seed)) if seed % 2 else spoiled(VM, Random(seed)))
    check(invoke("place", "--snapshot", directory / "good.json", "--vm", file, "--json"))


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.integers(0, 1_000_000))
def test_a_spoiled_plan(directory: Path, seed: int) -> None:
    file = directory / "file.json"
    file.write_bytes(spoiled(PLAN, Random(seed)))
    check(invoke("apply", "--snapshot", directory / "good.json", "--plan", file))


@pytest.mark.parametrize("size", [10**19, 10**400])
def test_a_number_that_no_cluster_has_is_refused(tmp_path: Path, size: int) -> None:
    for holder, key in list(places(json.loads(json.dumps(SNAPSHOT)))):
        if isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            spoilt = json.loads(json.dumps(SNAPSHOT))
            where = next(p for p in places(spoilt) if p[1] == key and p[0].keys() == holder.keys())
            where[0][key] = size
            file = tmp_path / "file.json"
            file.write_text(json.dumps(spoilt), encoding="utf-8")
            result = invoke("plan", "--snapshot", file)
            check(result)
            assert result.exit_code == 2
            assert str(key) in result.stderr
