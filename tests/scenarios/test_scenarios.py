"""Golden scenarios: a folder each with a README, a snapshot, a command and the plan that it must give.

After a change that is meant, `UPDATE_GOLDEN=1 pytest tests/scenarios` writes the plans anew; read the difference.
"""

import json
import os
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
