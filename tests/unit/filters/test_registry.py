"""The registry is complete: each rule's module is in it once, tested, and documented."""

from pathlib import Path

import pytest

from scheduler.filters import registry

ROOT = Path(__file__).parents[3]
RULES = sorted({path.stem for path in (ROOT / "scheduler/filters").glob("*.py")} - {"__init__", "view", "registry"})


def test_every_module_of_a_rule_is_registered_once() -> None:
    registered = sorted(rule.__name__.rpartition(".")[2] for rule in registry.FILTERS)
    assert registered == RULES


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_its_test_file_and_its_row_in_the_docs(rule: str) -> None:
    assert (Path(__file__).parent / f"test_{rule}.py").exists()
    assert f"| `{rule}` |" in (ROOT / "docs/algorithm.md").read_text(encoding="utf-8")


def test_codes_are_unique() -> None:
    codes = [rule.CODE for rule in registry.FILTERS]
    assert len(set(codes)) == len(codes)
