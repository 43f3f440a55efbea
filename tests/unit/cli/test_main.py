"""The command itself: its help, its choice of a daemon, `check`, and how fast it starts."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from scheduler import __version__
from scheduler.cli.choice import Choice
from scheduler.cli.main import SECTIONS, main
from scheduler.cli.session import unwatched
from scheduler.cluster.codec import dump_snapshot
from scheduler.cluster.rules import AntiAffinity, Rules
from tests.unit.clusters import cluster, host, vm

CONFIG = """
mode = "auto"
[[hosts]]
name = "node1"
uri = "qemu+tls://node1/system"
[[hosts]]
name = "node2"
uri = "qemu+tls://node2/system"
[[pins]]
vm = "db-*"
hosts = ["node1"]
[[anti_affinity]]
vms = ["web-*"]
[[affinity]]
vms = ["app", "cache"]
strength = "should"
[api]
socket = "/run/elsewhere.sock"
"""


PINS = """
[[pins]]
vm = "d*"
hosts = ["node1"]
[[pins]]
vm = "*b"
hosts = ["node2"]
"""


def call(*args: str | Path, **env: str) -> Result:
    return CliRunner(env={"COLUMNS": "80", "VIRT_SCHEDULER_CONFIG": "", **env}).invoke(main, list(map(str, args)))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize("name", [name for section in SECTIONS.values() for name in section])
def test_each_command_exists_and_explains_itself(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.help
    assert (name == "lab") == isinstance(command, click.Group)


def test_help_lists_every_command_by_topic() -> None:
    shown = call("--help").stdout
    for title, names in SECTIONS.items():
        assert f"{title}:" in shown
        assert all(f"\n  {name} " in shown for name in names)


def test_version() -> None:
    assert __version__ in call("--version").stdout


def test_an_unknown_command_is_bad_input() -> None:
    shown = call("migrat")
    assert shown.exit_code == 2
    assert "migrat" in shown.stderr


def test_offline_commands_import_neither_the_network_nor_libvirt() -> None:
    program = (
        "import scheduler.cli.main as m, sys\ntry: m.main(['plan', '--help'])\nexcept SystemExit: print(*sys.modules)"
    )
    root = Path(__file__).parents[3]
    listing = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert not {"aiohttp", "libvirt", "pydantic", "rich.console", "numpy"} & set(listing.stdout.split())


def test_the_daemon_is_chosen_by_socket_then_config(config: Path, tmp_path: Path) -> None:
    assert Choice(config_path=config, socket_path=tmp_path).socket() == tmp_path
    assert Choice(config_path=config).socket() == Path("/run/elsewhere.sock")
    with pytest.raises(click.UsageError, match="there is no such file"):
        Choice(config_path=tmp_path / "none.toml").socket()


def test_a_daemon_is_spoken_to_although_its_config_has_a_mistake_by_now(config: Path) -> None:
    config.write_text(CONFIG + '[balance]\nobjective = "fun"\n')
    assert Choice(config_path=config).socket() == Path("/run/elsewhere.sock")
    config.write_text('mode = "fun"\n')
    assert Choice(config_path=config).socket() == Path("/run/virt-scheduler/api.sock")
    config.write_text('[api]\nsocket = "relative.sock"\n')
    with pytest.raises(click.UsageError, match=r"api\.socket"):
        Choice(config_path=config).socket()
    config.write_text("mode = ")
    with pytest.raises(click.UsageError, match="no valid TOML"):
        Choice(config_path=config).socket()


def test_the_environment_names_the_config(config: Path) -> None:
    shown = call("hosts", VIRT_SCHEDULER_CONFIG=str(config))
    assert shown.exit_code == 2
    assert "no daemon at /run/elsewhere.sock" in shown.stderr


def test_check_sums_a_valid_config_up(config: Path) -> None:
    shown = call("check", "--config", config)
    assert shown.exit_code == 0
    for text in ("valid", "mode auto", "node2", "qemu+tls://node1/system", "pin (must)", "at most 1 a host", "should"):
        assert text in shown.stdout
    assert json.loads(call("--config", config, "check", "--json").stdout)["config"]["balance"]["hold"] == "2min"


@pytest.mark.parametrize("command", ["check", "run"])
def test_every_mistake_in_a_config_is_a_line_on_stderr(config: Path, command: str) -> None:
    config.write_text(CONFIG.replace("auto", "autp").replace("pins", "pinns"))
    shown = call(command, "--config", config)
    assert shown.exit_code == 2
    lines = shown.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"virt-scheduler: {config}: mode: 'autp' is not allowed (did you mean `auto`?)")
    assert "pinns: unknown key (did you mean `pins`?)" in lines[1]


def test_check_holds_the_rules_against_a_snapshot(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    vms = [vm(name, "node1") for name in ("web1", "web2", "db")]
    rules = Rules(anti_affinity=(AntiAffinity(("web*", "db")),))
    path.write_text(dump_snapshot(cluster([host("node1"), host("node2")], vms, rules)), encoding="utf-8")
    config.write_text(CONFIG)
    shown = call("check", "--config", config, "--snapshot", path)
    assert shown.exit_code == 0, shown.output
    assert "all must-rules can hold" in shown.stdout
    shown = call("check", "--config", config, "--snapshot", path, "--connect")
    assert shown.exit_code == 2
    config.write_text(CONFIG.replace("[api]", PINS + "[api]"))
    shown = call("check", "--config", config, "--snapshot", path, "--json")
    assert shown.exit_code == 1
    told = json.loads(shown.stdout)
    assert not told["healthy"]
    assert told["findings"][0]["text"] == "cannot all hold for db: d* on node1; *b on node2"


def test_check_tells_mistakes_as_json_too(config: Path) -> None:
    config.write_text("[[hosts]")
    shown = call("check", "--config", config, "--json")
    assert shown.exit_code == 2
    (problem,) = json.loads(shown.stdout)["problems"]
    assert "line 1, column 8" in problem


def test_ctrl_c_says_what_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, unwatched("the drain goes on"):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "virt-scheduler: the drain goes on\n"
