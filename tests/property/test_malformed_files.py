"""Whatever a config, a load table, a domain's XML or the body of a call holds: used, or refused by its place."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from scheduler.cluster.codec import load_snapshot
from scheduler.cluster.ports import DefinitionError
from scheduler.hypervisor.blockers import SharedStorage
from scheduler.hypervisor.domain_xml import read_definition
from scheduler.hypervisor.widening import Allowed, find_widening
from scheduler.operations.load_record import LoadRecorder
from scheduler.web.app import create_app
from scheduler.web.server import serve_api
from tests.unit.hypervisor.test_widening import USUAL
from tests.unit.web.memory import Client, MemoryControl

from .test_malformed_input import SNAPSHOT, invoke, spoiled

EXAMPLE = (Path(__file__).parents[2] / "config" / "example.toml").read_text()
CONFIG = """
mode = "auto"
sample_interval = "10s"
[[hosts]]
name = "a"
uri = "qemu+tls://a/system"
reserved_memory = "2GiB"
labels = { rack = "1" }
[[hosts]]
name = "b"
uri = "qemu+tls://b/system"
[[pins]]
vm = "web*"
hosts = ["a", "b"]
strength = "must"
[[anti_affinity]]
vms = ["web1", "tag:tier=web"]
max_per_host = 1
[[affinity]]
vms = ["web1", "off"]
strength = "should"
[[modes]]
vm = "off"
mode = "observe"
[balance]
objective = "spread"
hold = "2min"
cpu_usage_limit = 0.8
[limits]
cooldown = "30min"
max_moved_per_hour = 0.02
[migration]
bandwidth = "100MiB/s"
[api]
socket_mode = "0660"
[api.roles]
viewer = ["@users", "ann"]
[[api.tokens]]
name = "ci"
role = "operator"
hash = "sha256:28391a6e7c33d03c27ea69d38aff38d8858642ae8b34e5339c8df45f3d03358f"
"""
LOAD = "time_s,vm,cpu_demand_cores,memory_used_mib\n0,web1,2,512\n0,web2,1,\n30,web1,2.5,600\n60,web2,0.5,9\n"
SCRIPT = """
end_seconds = "5min"
seed = 3
failing = 0.1
[[at]]
time_seconds = "1min"
load = { web1 = 2, web2 = 0.5 }
[[at]]
time_seconds = "2min"
start = "off"
host = "b"
[[at]]
time_seconds = "3min"
crash = "a"
"""
STARTABLE = SNAPSHOT | {"vms": [one | {"host": one.get("host", "a")} for one in SNAPSHOT["vms"]]}
JUNK_TOML = (
    "0", "-1", "1e400", "nan", "inf", "10000000000000000000000", "''", "'x'", '"\\u0000"', '"a\\nb"', "[]", "[[]]",
    "{}", "{ a = 1 }", "true", "1979-05-27", "'tag:'", "'*'", "'10'", "'1' '2'", "[1, 'a']", "'9999999999999999 GiB'",
    "'-1s'", "'a\\u2028b'", '"""a\nb"""', "0x", "'[a-'", "'qemu://[::1/system'", "'://'",
)  # fmt: skip
JUNK_CELLS = (
    "", "-1", "nan", "inf", "1e400", "1e300", "1e12", "x", '"', '"a\nb"', "web1", "ghost", ",", "\x00", "\u2028", "1_0",
    " 1", "\u0661", "0x1", "9" * 5000, "\ud800",
)  # fmt: skip
JUNK_XML = (
    "<", ">", "&", "&amp;", "&#0;", "&#10;", "]]>", "<!--", "<?x?>", "'", '"', "<a>", "</a>", "<a/>", "\x00", "\ud800",
    "\u2028", "-1", "", " ", "9" * 5000, "<!DOCTYPE a>", "<![CDATA[", "{x}", "xmlns:q='u'", "/etc/../x", "<disk/>", "%",
)  # fmt: skip


def spoiled_text(good: str, junk: tuple[str, ...], random: Random) -> bytes:
    """`good` with one to three places overwritten, cut, doubled or swapped; sometimes in another encoding."""
    text = good
    for _ in range(random.randint(1, 3)):
        start = random.randrange(len(text) + 1)
        end = min(len(text), start + random.choice([0, 1, 5, 30]))
        match random.randrange(6):
            case 0:
                text = text[:start]
            case 1:
                lines = text.splitlines(keepends=True)
                text = text + random.choice(lines or [""])
            case 2:
                lines = text.splitlines(keepends=True)
                random.shuffle(lines)
                text = "".join(lines)
            case _:
                text = text[:start] + random.choice(junk) + text[end:]
    encoding = random.choice(["utf-8"] * 10 + ["utf-16", "utf-8-sig", "latin-1"])
    return text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")


def spoiled_config(random: Random) -> bytes:
    return spoiled_toml(random.choice([CONFIG, EXAMPLE]), random)


def spoiled_toml(good: str, random: Random) -> bytes:
    """Most of the time still TOML, with values that are not what is wanted."""
    if random.random() < 0.3:
        return spoiled_text(good, JUNK_TOML, random)
    lines = good.splitlines()
    for _ in range(random.randint(1, 3)):
        number = random.randrange(len(lines))
        key, equals, _ = lines[number].partition(" = ")
        if equals:
            lines[number] = f"{random.choice([key] * 5 + ['extra', key + 's'])} = {random.choice(JUNK_TOML)}"
        else:
            lines[number] = random.choice(["", "[hosts]", "[[balance]]", "[a.b]", lines[number]])
    return "\n".join(lines).encode()


def spoiled_load(random: Random) -> bytes:
    """Most of the time still a table."""
    if random.random() < 0.4:
        return spoiled_text(LOAD, JUNK_CELLS, random)
    rows = [line.split(",") for line in LOAD.splitlines()]
    for _ in range(random.randint(1, 2)):
        row = random.choice(rows)
        row[random.randrange(len(row))] = random.choice(JUNK_CELLS)
    return "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")


def check(result: Result, *places: str) -> None:
    """It did its work, or said in a line each what is wrong and where."""
    assert result.exit_code in (0, 1, 2, 3), result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit)
    if result.exit_code == 2:
        assert not result.stdout or json.loads(result.stdout)["problems"]
        assert result.stderr.endswith("\n")
        for line in result.stderr.removesuffix("\n").split("\n"):
            assert line.startswith("virt-scheduler: ")
            assert any(place in line for place in places), line
            assert line.isprintable()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("malformed")
    (directory / "conf.d").mkdir()
    (directory / "alone").mkdir()
    (directory / "snapshot.json").write_text(json.dumps(SNAPSHOT), encoding="utf-8")
    (directory / "load.csv").write_text(LOAD, encoding="utf-8")
    return directory


@hypothesis_settings(max_examples=250, deadline=None, derandomize=True)
@given(st.integers(0, 1_000_000))
def test_a_spoiled_config(directory: Path, seed: int) -> None:
    main_file, beside = directory / "config.toml", directory / "conf.d" / "10-more.toml"
    content = spoiled_config(Random(seed))
    beside.unlink(missing_ok=True)
    if seed % 3:
        main_file.write_bytes(content)
    else:
        main_file.write_text('mode = "recommend"\n')
        beside.write_bytes(content)
    check(invoke("--config", main_file, "check", *(["--json"] if seed % 2 else [])), "config.toml: ", "10-more.toml: ")


@hypothesis_settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 1_000_000))
def test_a_spoiled_config_beside_a_snapshot(directory: Path, seed: int) -> None:
    file = directory / "alone" / "rules.toml"
    file.write_bytes(spoiled_config(Random(seed)))
    check(invoke("--config", file, "check", "--snapshot", directory / "snapshot.json"), "rules.toml: ")


@hypothesis_settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(0, 1_000_000))
def test_a_spoiled_load_table(directory: Path, seed: int) -> None:
    file = directory / "spoiled.csv"
    file.write_bytes(spoiled_load(Random(seed)))
    check(
        invoke("simulate", "--cluster", directory / "snapshot.json", "--load", file, "--policy", "none", "--json"),
        "spoiled.csv: ",
    )


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 1_000_000))
def test_a_spoiled_snapshot_to_simulate_or_check(directory: Path, seed: int) -> None:
    file = directory / "spoiled.json"
    file.write_bytes(spoiled(SNAPSHOT, Random(seed)))
    if seed % 2:
        result = invoke("simulate", "--cluster", file, "--load", directory / "load.csv", "--policy", "none")
    else:
        result = invoke("check", "--snapshot", file)
    check(result, "spoiled.json: ", "load.csv: ")


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 1_000_000))
def test_a_spoiled_script(directory: Path, seed: int) -> None:
    folder = directory / "scenario"
    folder.mkdir(exist_ok=True)
    (folder / "cluster.json").write_text(json.dumps(STARTABLE), encoding="utf-8")
    (folder / "script.toml").write_bytes(spoiled_toml(SCRIPT, Random(seed)))
    check(invoke("simulate", "--scenario", folder, "--policy", "none", "--json"), "script.toml: ", "cluster.json: ")


@pytest.fixture(scope="module")
def recorded(directory: Path) -> Path:
    """A daemon's record of ten minutes."""
    path = directory / "recorded" / "whole.sqlite"
    path.parent.mkdir()
    recorder, now = LoadRecorder(path), datetime.now(UTC)
    snapshot = load_snapshot(json.dumps(SNAPSHOT), "it")
    for minute in range(10):
        recorder.add(replace(snapshot, taken_at=now - timedelta(minutes=20 - minute)), 86400.0)
    path.with_name("config.toml").write_text(
        f'state_directory = "{path.parent}"\n[[hosts]]\nname = "a"\nuri = "qemu+tls://a/system"\n'
    )
    return path


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 1_000_000))
def test_a_spoiled_record_of_load(recorded: Path, seed: int) -> None:
    """Cut off anywhere, or with bytes that are others, in pages as well as in what is packed in them."""
    random, content = Random(seed), bytearray(recorded.read_bytes())
    for _ in range(random.choice([0, 1, 1, 20, 200])):
        content[random.randrange(len(content))] = random.randrange(256)
    if seed % 3 == 0:
        del content[random.randrange(len(content)) :]
    recorded.with_name("load.sqlite").write_bytes(content)
    check(invoke("simulate", "--history", "--config", recorded.with_name("config.toml")), "load.sqlite: ")


@hypothesis_settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 1_000_000))
def test_a_spoiled_definition(seed: int) -> None:
    text = spoiled_text(USUAL, JUNK_XML, Random(seed)).decode("utf-8", "replace")
    told: list[str] = []
    for look in (
        lambda: read_definition(text, SharedStorage()).name,
        lambda: told.extend(map(str, find_widening(text, Allowed()))),
    ):
        try:
            look()
        except DefinitionError as error:
            told.append(str(error))
    assert all(line.isprintable() for line in told), told


@hypothesis_settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(0, 1_000_000))
async def test_spoiled_bodies_and_addresses(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    random = Random(seed)
    path = tmp_path_factory.mktemp("api") / "api.sock"
    bodies = {
        "/v1/placements": {"definitions": ["<domain/>"], "host": "node1", "dry_run": True},
        "/v1/migrations": {"vms": ["web1", "db*"], "to": "node2", "dry_run": True},
        "/v1/hosts/node1/drain": {"dry_run": True},
    }
    queries = (
        "limit=",
        "limit=1e3",
        "limit=-1",
        "name=%00",
        "name=%ff",
        "x=1",
        "host=" + "y" * 2000,
        "%",
        "limit=1&limit=2",
    )
    async with serve_api(create_app(MemoryControl()), path):
        client = Client(path)
        async with client.session:
            for _ in range(30):
                where, good = random.choice(list(bodies.items()))
                status, answer = await client.call("POST", where, data=spoiled(good, random))
                assert status in (200, 202, 400, 404, 409), answer
                where = random.choice(["/v1/migrations", "/v1/vms", "/v1/vms/web1/explain", "/v1/matrix"])
                status, answer = await client.call("GET", f"{where}?{random.choice(queries)}")
                assert status in (200, 400, 404), answer
