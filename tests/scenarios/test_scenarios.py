"""Golden scenarios: a folder each with a README, a snapshot, a command and the plan that it must give.

After a change that is meant, `UPDATE_GOLDEN=1 pytest tests/scenarios` writes the plans anew; read the difference.
"""

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from scheduler.cli import offline

SCENARIOS = sorted(path.parent for path in Path(__file__).parent.glob("*/snapshot.json"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_scenario(scenario: Path, tmp_path: Path) -> None:
    options = (scenario / "options").read_text(encoding="utf-8").split()
    arguments = ["--snapshot", str(scenario / "snapshot.json"), *options, "--json"]
    result = CliRunner().invoke(offline.plan, arguments)
    made = json.loads(result.stdout)
    del made["planning_seconds"]
    golden = scenario / "plan.json"
    shown = json.dumps({"exit_code": result.exit_code} | made, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")
    _nothing_is_left_to_do(scenario, result.stdout, tmp_path, options)


def _nothing_is_left_to_do(scenario: Path, plan: str, directory: Path, options: list[str]) -> None:
    (directory / "plan.json").write_text(plan, encoding="utf-8")
    arguments = ["--snapshot", str(scenario / "snapshot.json"), "--plan", str(directory / "plan.json")]
    after = CliRunner().invoke(offline.apply, arguments)
    assert after.exit_code == 0
    (directory / "after.json").write_text(after.stdout, encoding="utf-8")
    again = CliRunner().invoke(offline.plan, ["--snapshot", str(directory / "after.json"), *options, "--json"])
    assert json.loads(again.stdout)["steps"] == []


def test_every_scenario_says_what_must_happen_and_why() -> None:
    assert len(SCENARIOS) >= 20
    assert all(len((scenario / "README.md").read_text(encoding="utf-8")) > 80 for scenario in SCENARIOS)


def test_the_map_names_every_scenario_and_only_tests_that_there_are() -> None:
    here, root = Path(__file__).parent, Path(__file__).parents[2]
    rows = [line for line in (here / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    shown_by = [row.split("|")[3] for row in rows if not row.endswith("Shown by |")]
    assert all(re.search(r"\]\(|`tests/", cell) for cell in shown_by)
    linked = [name for cell in shown_by for name in re.findall(r"\]\(([^)]*)\)", cell)]
    assert sorted(linked) == [scenario.name for scenario in SCENARIOS]
    for test in (name for cell in shown_by for name in re.findall(r"`(tests/[^`]*)`", cell)):
        path, _, function = test.partition("::")
        assert f"def {function}(" in (root / path).read_text(encoding="utf-8") if function else (root / path).exists()
