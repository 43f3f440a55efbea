"""plan, apply, place and schema over files: what they print, and the one line that they say of bad input."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scheduler.cli import offline
from scheduler.cli.main import main
from scheduler.cluster.codec import dump_snapshot
from scheduler.cluster.model import Snapshot
from tests.unit.clusters import cluster, host, vm

SNAPSHOT = cluster([host("node1", cpus=2), host("node2")], [vm("web1", "node1"), vm("web2", "node1")])


@pytest.fixture
def snapshot_file(tmp_path: Path) -> Path:
    return written(tmp_path, SNAPSHOT)


def written(directory: Path, snapshot: Snapshot) -> Path:
    path = directory / "snapshot.json"
    path.write_text(dump_snapshot(snapshot), encoding="utf-8")
    return path


def run(command: str, *arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(getattr(offline, command), [str(argument) for argument in arguments], input=stdin)


def test_a_plan_for_tools_is_what_apply_reads(snapshot_file: Path, tmp_path: Path) -> None:
    planned = run("plan", "--snapshot", snapshot_file, "--json")
    assert planned.exit_code == 0
    assert [step["destination"] for step in json.loads(planned.stdout)["steps"]] == ["node2"]
    plan_file = tmp_path / "plan.json"
    plan_file.write_text(planned.stdout, encoding="utf-8")
    applied = run("apply", "--snapshot", snapshot_file, "--plan", plan_file)
    assert applied.exit_code == 0
    assert sorted(vm["host"] for vm in json.loads(applied.stdout)["vms"]) == ["node1", "node2"]


def test_a_plan_for_people_shows_terms_steps_and_reasons(snapshot_file: Path) -> None:
    shown = run("plan", "--snapshot", snapshot_file).stdout
    assert shown.startswith("1 move in 1 batch, takes about 43 s, waiting falls from 0.3 to 0.0 cores\n")
    assert "cpu_waiting" in shown
    assert "node1 is 0.3 cores short" in shown


def test_a_snapshot_may_come_through_a_pipe() -> None:
    result = run("plan", "--snapshot", "-", "--json", "--max-moves", "0", stdin=dump_snapshot(SNAPSHOT))
    assert json.loads(result.stdout)["steps"] == []


def test_a_drain_that_cannot_be_completed_exits_with_3(tmp_path: Path) -> None:
    path = written(tmp_path, cluster([host("node1")], [vm("web", "node1")]))
    result = run("plan", "--snapshot", path, "--drain", "node1")
    assert result.exit_code == 3
    assert "there is no other host (no_other_host)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--drain", "nowhere"), "virt-scheduler: --drain: 'nowhere' is not among the hosts: node1, node2\n"),
        (("--objective", "best"), "'best' is not one of 'contention', 'spread', 'pack'"),
        (("--max-moves", "-1"), "-1 is not in the range x>=0"),
    ],
)
def test_bad_options_exit_with_2(snapshot_file: Path, arguments: tuple[str, ...], expected: str) -> None:
    result = run("plan", "--snapshot", snapshot_file, *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_a_bad_snapshot_is_told_in_one_line(snapshot_file: Path, tmp_path: Path) -> None:
    snapshot_file.write_text(snapshot_file.read_text(encoding="utf-8").replace('"vcpus": 2', '"vcpus": -2', 1))
    result = run("plan", "--snapshot", snapshot_file)
    assert result.exit_code == 2
    assert result.stderr == f"virt-scheduler: {snapshot_file}: vms[0].vcpus: is -2, allowed is 1 or more\n"
    missing = run("plan", "--snapshot", tmp_path / "missing.json")
    assert missing.stderr == f"virt-scheduler: {tmp_path}/missing.json: No such file or directory\n"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("[", "not JSON: "),
        ('{"steps": 3}', "steps: must be a list of objects with vm, source and destination"),
        ("[]", "steps: must be a list of objects with vm, source and destination"),
        ('{"steps": [{"vm": "x", "source": "node1", "destination": "node2"}]}', "steps[0].vm: 'x' is not one VM"),
        (
            '{"steps": [{"vm": "web1", "source": "node2", "destination": "node1"}]}',
            "steps[0].source: web1 is on node1, not on node2",
        ),
        (
            '{"steps": [{"vm": "web1", "source": "node1", "destination": "x"}]}',
            "steps[0].destination: 'x' is not among the hosts",
        ),
    ],
)
def test_a_plan_that_does_not_fit_the_snapshot_is_refused(
    snapshot_file: Path, tmp_path: Path, steps: str, expected: str
) -> None:
    plan_file = tmp_path / "plan.json"
    plan_file.write_text(steps, encoding="utf-8")
    result = run("apply", "--snapshot", snapshot_file, "--plan", plan_file)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_schema_is_json() -> None:
    assert json.loads(run("schema", "snapshot").stdout)["title"] == "Snapshot"
    assert run("schema", "plans").exit_code == 2


def vm_file(directory: Path, *vms: dict[str, object]) -> Path:
    path = directory / "vm.json"
    path.write_text(json.dumps(vms[0] if len(vms) == 1 else vms), encoding="utf-8")
    return path


NEW = {"name": "new", "vcpus": 1, "memory_mib": 1024}


def test_placement_for_tools(snapshot_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = offline.place_offline(snapshot_file, [vm_file(tmp_path, NEW)], as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert code == 0
    assert shown["host"] == "node2"
    assert [set(ranked) for ranked in shown["ranking"]] == [{"host", "score", "terms"}] * 2
    assert shown["moves_first"] == []


def test_several_vms_give_a_list(snapshot_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vms = vm_file(tmp_path, NEW, NEW | {"name": "huge", "memory_mib": 999999})
    assert offline.place_offline(snapshot_file, [vms], as_json=True) == 3
    assert [placement["host"] for placement in json.loads(capsys.readouterr().out)] == ["node2", None]


def test_placement_for_people(snapshot_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    offline.place_offline(snapshot_file, [vm_file(tmp_path, NEW | {"memory_mib": 999999})], as_json=False)
    shown = capsys.readouterr().out
    assert shown.startswith("new: no host can take it\n")
    assert "needs 999,999 MiB, 934,463 MiB short (memory_short)" in shown


@pytest.mark.parametrize(
    ("vms", "expected"),
    [
        ((NEW | {"vcpus": "one"},), "vcpus: input should be a valid integer"),
        ((NEW | {"host": "nowhere"},), "host: 'nowhere' is not among the hosts"),
        ((NEW, NEW), "'new' is given twice"),
    ],
)
def test_a_bad_vm_is_refused(
    snapshot_file: Path, tmp_path: Path, vms: tuple[dict[str, object], ...], expected: str
) -> None:
    with pytest.raises(offline.BadInputError, match=expected):
        offline.place_offline(snapshot_file, [vm_file(tmp_path, *vms)], as_json=True)


def test_capacity_says_how_many_more_fit(snapshot_file: Path, tmp_path: Path) -> None:
    arguments = ["--snapshot", str(snapshot_file), "--vm", str(vm_file(tmp_path, NEW))]
    found = json.loads(CliRunner().invoke(offline.capacity, [*arguments, "--json"]).stdout)
    assert found["fits"] == sum(host["fits"] for host in found["hosts"]) > found["fits_after_loss"]
    shown = CliRunner().invoke(offline.capacity, arguments)
    assert f"{found['fits']} more fit" in shown.stdout
    assert f"when {found['worst_loss']} is lost" in shown.stdout


def test_capacity_for_nothing_ends_with_3(snapshot_file: Path, tmp_path: Path) -> None:
    vm = vm_file(tmp_path, NEW | {"memory_mib": 999999})
    assert CliRunner().invoke(offline.capacity, ["--snapshot", str(snapshot_file), "--vm", str(vm)]).exit_code == 3


def test_weights_that_cannot_be_are_refused_with_what_is_allowed(snapshot_file: Path) -> None:
    for wrong in ("disk=1", "cpu", "cpu=-1", "cpu=nan"):
        result = CliRunner().invoke(offline.plan, ["--snapshot", str(snapshot_file), "--weights", wrong])
        assert result.exit_code == 2
        assert "cpu=NUMBER" in result.stderr
    right = CliRunner().invoke(
        offline.plan,
        ["--snapshot", str(snapshot_file), "--objective", "spread", "--weights", "vcpus=1", "--max-gib", "1"],
    )
    assert right.exit_code == 0


def test_explain_works_on_a_snapshot(snapshot_file: Path) -> None:
    def explain(*arguments: object) -> Result:
        return CliRunner().invoke(main, ["explain", *map(str, arguments)])

    vm = json.loads(snapshot_file.read_text(encoding="utf-8"))["vms"][0]["name"]
    told = json.loads(explain(vm, "--snapshot", snapshot_file, "--json").stdout)
    assert told["vm"] == vm
    assert all(one["allowed"] or one["reasons"] for one in told["verdicts"])
    assert all((one["forecast"] is not None) == one["allowed"] for one in told["verdicts"])
    assert told["cautions"] == []
    assert "WOULD FIT IF" in explain(vm, "--snapshot", snapshot_file).stdout
    assert explain("nobody", "--snapshot", snapshot_file).exit_code == 2
    assert explain(vm, "--snapshot", snapshot_file, "--host", "nowhere").exit_code == 2
