"""The example and the documentation tell every key and its true default."""

import tomllib
from pathlib import Path
from typing import Any

from scheduler.config import Config, load

from .reference import keys, reference, tables

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "config" / "example.toml"


def without_arrays(table: dict[str, Any]) -> dict[str, Any]:
    """Without lists of tables, of which a default has none; an empty list may be one."""
    return {
        key: without_arrays(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value != [] and not (isinstance(value, list) and isinstance(value[0], dict))
    }


def written_below(table: Any, path: str) -> set[str]:
    """All keys that the example uses at a key path."""
    for part in path.split(".") if path else ():
        table = table[part]
    return set().union(*table) if isinstance(table, list) else set(table)


def test_the_example_has_every_key() -> None:
    example = tomllib.loads(EXAMPLE.read_text())
    assert written_below(example, "") == set(Config().written())
    for path, _, _, model in tables():
        below = {other.removeprefix(f"{path}.") for other, *_ in tables() if other.startswith(f"{path}.")}
        assert written_below(example, path) == {key for key, _ in keys(model)} | below, path


def test_the_values_of_the_example_are_the_defaults() -> None:
    assert without_arrays(load(EXAMPLE).written()) == without_arrays(Config().written())
    rules = load(EXAMPLE)
    assert rules.hosts[0].reserved_memory_mib == rules.hosts[1].reserved_memory_mib
    assert rules.pins[0].strength == rules.anti_affinity[0].strength == rules.affinity[0].strength == "must"
    assert rules.anti_affinity[0].max_per_host == 1


def test_every_key_of_the_example_has_a_comment() -> None:
    commented = False
    for line in EXAMPLE.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            assert commented or "#" in line or line.startswith(("name", "uri", "vm", "hosts", "mode", "strength")), line
        # A comment speaks for the block below it.
        commented = bool(line.strip()) and (commented or line.startswith("#"))


def test_the_documentation_is_that_of_the_models() -> None:
    documented = (ROOT / "docs" / "configuration.md").read_text()
    assert documented.endswith(reference()), (
        "replace the reference by what python -m tests.unit.config.reference prints"
    )
