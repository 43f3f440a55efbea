"""The schema that editors use: up to date, and never stricter than the daemon."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.config import Config, ConfigError, parse
from scheduler.config.schema import config_schema
from scheduler.lab.daemon_config import config_toml

ROOT = Path(__file__).parents[3]
FILE = ROOT / "config" / "config.schema.json"
SCHEMA = jsonschema_rs.validator_for(config_schema())
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/scenarios/*/*.md")])
SNIPPETS = [
    pytest.param(text, id=f"{path.relative_to(ROOT)}-{number}")
    for path in DOCUMENTS
    for number, text in enumerate(re.findall(r"^```toml\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE))
]
ONE_HOST = '[[hosts]]\nname = "a"\nuri = "qemu:///system"\n'


def refusals(text: str) -> list[str]:
    return [error.message for error in SCHEMA.iter_errors(tomllib.loads(text))]


def test_the_file_is_what_the_command_prints() -> None:
    assert json.loads(FILE.read_text()) == config_schema(), (
        "run: virt-scheduler schema config > config/config.schema.json"
    )


def test_the_example_holds_to_it_and_names_it() -> None:
    text = (ROOT / "config" / "example.toml").read_text()
    assert refusals(text) == []
    assert text.startswith(f"#:schema ./{FILE.name}\n")


@pytest.mark.parametrize("text", SNIPPETS)
def test_every_config_in_the_documentation_holds_to_it(text: str) -> None:
    assert refusals(text) == []


def test_the_labs_config_holds_to_it(tmp_path: Path) -> None:
    assert refusals(config_toml(tmp_path, [])) == []


def test_every_scenarios_config_holds_to_it() -> None:
    configs = sorted((ROOT / "tests" / "scenarios").glob("**/*.toml"))
    assert [path for path in configs if refusals(path.read_text())] == []


def test_the_defaults_hold_to_it() -> None:
    assert refusals(ONE_HOST) == []
    assert list(SCHEMA.iter_errors(Config().written())) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('mode = "autp"', '"autp" is not one of'),
        ("sample_interval = 31", "31 is greater than the maximum of 30"),
        ('sample_interval = "10"', '"10" does not match'),
        ("[balance]\nhold = 0\nmax_moves = 0", "is not valid under any of the schemas"),
        ('[migration]\nbandwidth = "100MiB"', '"100MiB" does not match'),
        ('[[hosts]]\nname = "a"', '"uri" is a required property'),
        (ONE_HOST + "ury = 1", "'ury' was unexpected"),
        (ONE_HOST + 'reserved_memory = "2G"', '"2G" does not match'),
        ('[[priorities]]\nvms = ["a"]\npriority = 7', "7 is not one of"),
    ],
)
def test_what_is_mistyped_is_seen_in_the_editor(text: str, message: str) -> None:
    (found,) = refusals(text)
    assert message in found
    with pytest.raises(ConfigError):
        parse(text, "c.toml")


NUMBERS = st.sampled_from(["0", "1", "007", "2.5", "1000"])
QUANTITIES = st.builds(
    "".join,
    st.lists(
        st.one_of(NUMBERS, st.sampled_from(["s", "min", " ", "ms", "d", "MiB", "GiB", "TB", "/s", "unlimited", "x"])),
        max_size=5,
    ),
)
VALUES = st.one_of(QUANTITIES, st.integers(-1, 400), st.floats(0, 2), st.booleans())
KEYS = [
    ("sample_interval",), ("balance", "hold"), ("balance", "max_moves"), ("balance", "cpu_usage_limit"),
    ("limits", "max_inbound"), ("limits", "cooldown"), ("migration", "bandwidth"), ("migration", "max_downtime"),
    ("migration", "expected_bandwidth"), ("migration", "auto_converge"), ("log", "level"), ("api", "socket"),
]  # fmt: skip


@given(st.sampled_from(KEYS), VALUES)
def test_what_the_daemon_takes_the_schema_takes(key: tuple[str, ...], value: Any) -> None:
    line = f"{'.'.join(key)} = {json.dumps(value)}"
    try:
        parse(line, "c.toml")
    except ConfigError:
        return
    assert refusals(line) == []
