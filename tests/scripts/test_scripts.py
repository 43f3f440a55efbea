"""Each folder here, played by the daemon on a simulated cluster, comes out as its log says, each time."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from scheduler.cli.simulate import simulate

FOLDERS = sorted(path.parent for path in Path(__file__).parent.glob("*/script.toml"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_it_comes_out_as_expected(folder: Path):
    run = CliRunner().invoke(simulate, ["--scenario", str(folder)])
    assert run.stdout == (folder / "expected.log").read_text()
    assert (run.exit_code, run.stderr) == (0, "")
    assert (folder / "README.md").read_text().startswith("# ")
