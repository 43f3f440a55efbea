"""The live commands against a served API: what they print, as text and as JSON, and how they end."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.cluster.codec import load_snapshot
from scheduler.operations.records import Decision, MigrationState
from tests.unit.web.memory import migration_record, small_cluster

from .conftest import Command
from .memory import NO_AVX2, REASONS, MovingControl


def test_status_is_the_daemon_in_one_look(virt_scheduler: Command) -> None:
    shown = virt_scheduler("status")
    assert shown.exit_code == 0
    assert "mode auto" in shown.stdout
    assert "all VMs run unhindered" in shown.stdout
    assert "hosts: 1 of 2 up" in shown.stdout
    assert virt_scheduler.json("status")["vms_running"] == 2


def test_hosts_show_use_and_room(virt_scheduler: Command) -> None:
    lines = virt_scheduler("hosts").stdout.splitlines()
    assert lines[0].split() == ["HOST", "STATE", "CPU", "USED", "CPUS", "FREE", "MiB", "OF", "MiB", "VMS", "NOTE"]
    assert lines[1].split()[:7] == ["node1", "up", "6.0", "8", "10,240", "16,384", "2"]
    assert "cordoned" in "".join(lines[2:])
    assert [host["name"] for host in virt_scheduler.json("hosts")["hosts"]] == ["node1", "node2"]


def test_vms_can_be_selected(virt_scheduler: Command) -> None:
    shown = virt_scheduler("vms", "web*").stdout
    assert "web1" in shown
    assert "20.0 %" in shown
    assert "db1" not in shown
    assert len(virt_scheduler.json("vms")["vms"]) == 3


def test_explain_gives_the_reason_for_each_host(virt_scheduler: Command) -> None:
    shown = virt_scheduler("explain", "web1")
    assert shown.exit_code == 0
    assert "web1 is on node1" in shown.stdout
    assert "2,048 MiB short" in shown.stdout
    assert "for node2: migrate web2 away from there first" in shown.stdout
    (verdict,) = virt_scheduler.json("explain", "web1", "--host", "node2")["verdicts"]
    assert verdict["reasons"][0]["code"] == "memory_short"


def test_the_matrix_shows_each_pair_and_what_is_missing(virt_scheduler: Command) -> None:
    lines = virt_scheduler("matrix").stdout.splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["FROM", "\\", "TO", "node1", "node2"], ["node1", "-", "no"], ["node2", "yes", "-"],
    ]  # fmt: skip
    assert lines[-1].split(maxsplit=3) == ["node1", "node2", "no", "CPU lacks aes, avx2"]
    assert "web1, which is on node1" in virt_scheduler("matrix", "--vm", "web1").stdout
    assert virt_scheduler("matrix", "--vm", "ghost").exit_code == 2
    assert virt_scheduler.json("matrix")["pairs"][0]["missing"] == ["aes", "avx2"]


def test_the_baseline_is_an_element_to_paste_and_its_price(virt_scheduler: Command) -> None:
    shown = virt_scheduler("matrix", "--baseline").stdout
    assert shown.startswith("<cpu mode='custom'/>\n")
    assert "held back by node2" in shown
    assert "node3 is not regarded: the libvirt of node3 does not answer" in shown
    assert virt_scheduler.json("matrix", "--baseline")["features"] == ["sse4.2"]
    assert virt_scheduler("matrix", "--baseline", "--vm", "web1").exit_code == 2


def test_an_unknown_vm_is_bad_input_in_one_line(virt_scheduler: Command) -> None:
    shown = virt_scheduler("explain", "ghost")
    assert (shown.exit_code, shown.stderr) == (2, "virt-scheduler: there is no VM ghost\n")


def test_a_failure_is_json_too_when_json_is_asked_for(virt_scheduler: Command) -> None:
    shown = virt_scheduler("explain", "ghost", "--json")
    assert shown.exit_code == 2
    assert json.loads(shown.stdout)["error"]["code"] == "not_found"


def test_snapshot_is_json_anyway(virt_scheduler: Command) -> None:
    assert json.loads(virt_scheduler("snapshot").stdout)["version"] == 1
    assert virt_scheduler.json("snapshot")["hosts"][0]["name"] == "node1"


def test_cordon_and_uncordon(virt_scheduler: Command) -> None:
    assert virt_scheduler("cordon", "node1").stdout.startswith("node1: nothing starts on it")
    assert virt_scheduler("uncordon", "node1").stdout == "node1: in use again (up)\n"
    assert virt_scheduler("cordon", "ghost").exit_code == 2


def test_place_reads_definitions_and_says_where_and_why(
    virt_scheduler: Command, control: MovingControl, tmp_path: Path
) -> None:
    (tmp_path / "a.xml").write_text("<domain>a</domain>")
    (tmp_path / "b.xml").write_text("<domain>b</domain>")
    shown = virt_scheduler("place", tmp_path / "a.xml", tmp_path / "b.xml", "--host", "node1")
    assert shown.exit_code == 0
    assert shown.stdout == "new0: started on node1: lowest load\nnew1: started on node1: lowest load\n"
    assert control.asked[0][1:4] == (("<domain>a</domain>", "<domain>b</domain>"), "node1", False)


def test_place_without_a_file_or_with_one_that_is_not_there_is_bad_input(virt_scheduler: Command) -> None:
    assert virt_scheduler("place").exit_code == 2
    missing = virt_scheduler("place", "/nowhere/vm.xml")
    assert missing.exit_code == 2
    assert "/nowhere/vm.xml" in missing.stderr
    assert virt_scheduler("place", "--snapshot", "s.json").exit_code == 2


def test_a_file_that_is_no_text_is_named(virt_scheduler: Command, tmp_path: Path) -> None:
    binary, empty = tmp_path / "disk.img", tmp_path / "empty.xml"
    binary.write_bytes(b"\x89\xff")
    empty.touch()
    for path, what in ((binary, "is not UTF-8 text"), (empty, "is empty")):
        refused = virt_scheduler("place", str(path))
        assert refused.exit_code == 2
        assert f"{path}: {what}" in refused.stderr


def test_a_definition_that_the_daemon_refuses_is_named_by_its_file(virt_scheduler: Command, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.xml", tmp_path / "bad.xml"
    good.write_text("<domain><name>web1</name></domain>")
    bad.write_text("<network/>")
    refused = virt_scheduler("place", str(good), str(bad))
    assert refused.exit_code == 2
    assert refused.stderr == f"virt-scheduler: {bad}: no domain\n"


def test_a_start_that_no_host_can_take_names_each_host_and_ends_with_3(virt_scheduler: Command) -> None:
    shown = virt_scheduler("start", "web1", "big1")
    assert shown.exit_code == 3
    assert shown.stdout.splitlines() == [
        "web1: started on node1: lowest load",
        "big1: refused: no host can take it",
        "  node1: needs 8,192 MiB, 2,048 MiB short",
        "  node2: needs 8,192 MiB, 2,048 MiB short",
        "  there would be room after moving web1 to node2",
    ]


def test_a_start_that_failed_everywhere_ends_with_1(virt_scheduler: Command) -> None:
    shown = virt_scheduler("start", "bad1")
    assert shown.exit_code == 1
    assert shown.stdout.splitlines() == [
        "bad1: failed: it may run there all the same",
        "  node1 failed to start it: disk is missing; no bus",
        "  node2 failed to start it: lost",
    ]


def test_a_dry_run_shows_the_ranking(virt_scheduler: Command) -> None:
    shown = virt_scheduler("start", "web1", "--dry-run")
    assert shown.exit_code == 0
    assert "web1: would start on node1: lowest load" in shown.stdout
    assert "cpu 0.400" in shown.stdout


def test_migrate_tells_each_state_and_the_outcome(virt_scheduler: Command, control: MovingControl) -> None:
    shown = virt_scheduler("migrate", "web1", "--to", "node2")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        "web1 node1 -> node2: queued",
        "web1 node1 -> node2: migrating",
        "web1 node1 -> node2: verifying",
        "web1 node1 -> node2: completed in 8.0 s (10.0 s predicted), 120 ms of it standing still",
    ]
    assert control.asked[0][:4] == ("migrate", ("web1",), "node2", False)


def test_migrate_as_json_is_one_document_of_what_became_of_them(virt_scheduler: Command) -> None:
    (record,) = virt_scheduler.json("migrate", "web1")["migrations"]
    assert record["state"] == "completed"


def test_a_refused_migration_ends_with_3_and_the_reason(virt_scheduler: Command) -> None:
    shown = virt_scheduler("migrate", "big1", "web1")
    assert shown.exit_code == 3
    assert f"big1 node1 -> node2: refused: {NO_AVX2}" in shown.stdout
    assert "web1 node1 -> node2: completed" in shown.stdout


def test_a_failed_migration_ends_with_1(virt_scheduler: Command) -> None:
    shown = virt_scheduler("migrate", "bad1")
    assert shown.exit_code == 1
    assert "failed: the connection to node2 broke" in shown.stdout


def test_migrate_need_not_wait(virt_scheduler: Command) -> None:
    shown = virt_scheduler("migrate", "web1", "--no-wait")
    assert (shown.exit_code, shown.stdout) == (0, "web1 node1 -> node2: queued\n")


def test_a_dry_run_of_a_migration_changes_nothing(virt_scheduler: Command, control: MovingControl) -> None:
    shown = virt_scheduler("migrate", "web1", "--dry-run")
    assert (shown.exit_code, shown.stdout) == (0, "web1 node1 -> node2: would be migrated, about 10.0 s\n")
    refused = virt_scheduler("migrate", "big1", "--dry-run")
    assert (refused.exit_code, refused.stdout) == (3, f"big1 node1 -> node2: refused: {NO_AVX2}\n")
    assert len(control.records) == 1


def test_a_glob_that_means_nothing_is_bad_input(virt_scheduler: Command) -> None:
    shown = virt_scheduler("migrate", "nothing-*")
    assert (shown.exit_code, shown.stderr) == (2, "virt-scheduler: no running VM is meant by that\n")


@pytest.mark.parametrize(("arguments", "exit_code"), [(("migrate", "nothing-*"), 2), (("abort", "web1"), 3)])
def test_what_the_command_itself_refuses_is_json_too(
    virt_scheduler: Command, arguments: tuple[str, ...], exit_code: int
) -> None:
    shown = virt_scheduler(*arguments, "--json")
    assert shown.exit_code == exit_code
    assert json.loads(shown.stdout)["error"]["message"]


def test_abort_finds_the_running_migration_of_a_vm(virt_scheduler: Command, control: MovingControl) -> None:
    virt_scheduler("migrate", "web1", "--no-wait")
    shown = virt_scheduler("abort", "web1")
    assert (shown.exit_code, shown.stdout) == (0, "web1 node1 -> node2: abort asked for, now aborted\n")
    control.records = [replace(each, state=MigrationState.COMPLETED) for each in control.records]
    nothing = virt_scheduler("abort", "web1")
    assert (nothing.exit_code, nothing.stderr) == (3, "virt-scheduler: web1 is not being migrated\n")


def test_drain_shows_the_plan_and_waits_for_every_vm(virt_scheduler: Command) -> None:
    shown = virt_scheduler("drain", "node1")
    assert shown.exit_code == 0
    assert "host is drained" in shown.stdout
    assert shown.stdout.count("completed in 8.0 s") == 2
    answer = virt_scheduler.json("drain", "node1")
    assert {record["vm"] for record in answer["migrations"]} == {"web1", "web2"}


def test_a_drain_that_fails_ends_with_1_and_one_that_cannot_be_with_3(virt_scheduler: Command) -> None:
    assert virt_scheduler("drain", "node2").exit_code == 1
    stuck = virt_scheduler("drain", "node3")
    assert stuck.exit_code == 3
    assert "big1 stays on node3: needs 8,192 MiB, 2,048 MiB short" in stuck.stdout
    unknown = virt_scheduler("drain", "node9")
    assert (unknown.exit_code, unknown.stderr) == (2, "virt-scheduler: there is no host node9; known: node1, node2\n")


def test_a_drain_that_somebody_ends_is_not_waited_for(virt_scheduler: Command, control: MovingControl) -> None:
    control.in_use_again = True
    ended = virt_scheduler("drain", "node1")
    assert ended.exit_code == 1
    assert ended.stderr == "virt-scheduler: node1 is in use again: what had not begun to move stays\n"


def test_a_dry_run_of_a_drain_only_plans(virt_scheduler: Command, control: MovingControl) -> None:
    assert virt_scheduler("drain", "node1", "--dry-run").exit_code == 0
    assert len(control.records) == 1


def test_recommendations_are_listed_approved_and_dismissed(virt_scheduler: Command, control: MovingControl) -> None:
    assert "waits" in virt_scheduler("recommendations").stdout
    approved = virt_scheduler("approve", "1")
    assert approved.exit_code == 0
    assert "completed in 8.0 s" in approved.stdout
    assert virt_scheduler("dismiss", "1").stdout == "web1 stays on node1: dismissed\n"
    assert virt_scheduler("approve", "7").exit_code == 2
    control.recommended_moves = []
    assert virt_scheduler("recommendations").stdout == "nothing is recommended\n"


def test_history_is_migrations_and_placements_newest_first(virt_scheduler: Command) -> None:
    virt_scheduler("migrate", "big1")
    shown = virt_scheduler("history").stdout
    assert "no host has room" not in shown
    assert shown.index("avx2") < shown.index("8.0 s")
    assert set(virt_scheduler.json("history", "--limit", "1")) == {"migrations", "placements"}
    assert virt_scheduler("history", "--limit", "0").exit_code == 2


def test_decisions_tell_what_was_held_back(virt_scheduler: Command) -> None:
    shown = virt_scheduler("decisions").stdout
    assert "nothing to do" in shown
    assert "held back" in shown
    assert "2,048 MiB short" in " ".join(shown.split())


def test_a_decision_is_told_with_its_figures_and_what_came_of_it(
    virt_scheduler: Command, control: MovingControl
) -> None:
    step = {"batch": 1, "vm": "web1", "source": "node1", "destination": "node2", "reason": {"text": "node1 is hot"}}
    terms = [{"name": "cpu_waiting", "unit": "cores", "weight": 1.0, "before": 2.5, "after": 0.0}]
    steps = [step, step | {"batch": 2, "vm": "web2"}, step | {"vm": "web3"}]
    plan = {
        "objective": "contention", "score_before": 2.5, "score_after": 0.0, "terms": terms, "steps": steps,
        "unmoved": [{"vm": "pci", "host": "node1", "reasons": REASONS}],
    }  # fmt: skip
    held = {"vm": "web3", "source": "node1", "destination": "node2", "reasons": REASONS}
    control.decided = [Decision(cycle="c1", at=110.0, sentence="moving web1", kind="plan", plan=plan, refused=(held,))]
    control.records = [migration_record(5, cycle="c1"), migration_record(6, cycle="c1", vm="other", downtime_ms=None)]
    shown = virt_scheduler("decisions", "c1").stdout
    told = " ".join(shown.split())
    assert re.search(r"c1 at .*: moving web1$", shown, re.MULTILINE)
    assert re.search(r"cpu_waiting +1 +2.500 +0.000 +cores", shown)
    assert "completed in 8.0 s" in told
    assert re.search(r"2 +web2 .*left to a later", shown)
    assert "held back: needs" in told
    assert re.search(r"^ +other ", shown, re.MULTILINE)
    assert "pci stays on node1: needs 8,192 MiB, 2,048 MiB short" in told
    assert "virt-scheduler snapshot --cycle c1" in told
    assert virt_scheduler.json("decisions", "c1")["doings"]["snapshot_kept"] is True
    unknown = virt_scheduler("decisions", "c9")
    assert (unknown.exit_code, unknown.stderr) == (2, "virt-scheduler: no decision of a cycle c9 is kept\n")


def test_a_recommendation_is_told_with_its_state(virt_scheduler: Command, control: MovingControl) -> None:
    step = {"batch": 1, "vm": "web1", "source": "node1", "destination": "node2", "reason": {"text": "node1 is hot"}}
    plan = {"steps": [step]}
    control.decided = [Decision(cycle="c1", at=110.0, sentence="recommending web1", kind="recommend", plan=plan)]
    assert "recommendation 1: pending" in " ".join(virt_scheduler("decisions", "c1").stdout.split())


def test_the_snapshot_of_a_cycle_is_one_for_the_offline_commands(virt_scheduler: Command) -> None:
    assert load_snapshot(virt_scheduler("snapshot", "--cycle", "c1").stdout, "c1") == small_cluster()
    assert "only cycles that acted have one" in virt_scheduler("snapshot", "--cycle", "c2").stderr


def test_nothing_to_tell_is_told(virt_scheduler: Command, control: MovingControl) -> None:
    control.decided = []
    assert virt_scheduler("decisions").stdout == "nothing has been decided yet\n"
    assert virt_scheduler("events").stdout == "nothing has happened since the daemon started\n"
    assert virt_scheduler("events", "--json").stdout == ""


def test_explain_tells_what_balancing_leaves_alone(virt_scheduler: Command, control: MovingControl) -> None:
    left = {"hold": "was moved, is left alone for 30 min", "not_to": {"node2": "came from node2, not back for 6.0 h"}}
    first, *others = control.cluster.vms
    control.cluster = replace(control.cluster, vms=(replace(first, **left), *others))
    told = " ".join(virt_scheduler("explain", "web1").stdout.split())
    assert "balancing leaves it alone: was moved, is left alone for 30 min" in told
    assert "balancing does not move it to node2: came from node2, not back for 6.0 h" in told
    assert "came from" not in virt_scheduler("explain", "web1", "--host", "node1").stdout


def test_events_print_what_is_remembered(virt_scheduler: Command, control: MovingControl) -> None:
    control.notify("domain", "web1 started on node1")
    control.notify("host", "node2 is unreachable")
    lines = virt_scheduler("events").stdout.splitlines()
    assert [line.split()[2:] for line in lines] == [["domain", *["web1", "started", "on", "node1"]],
                                                    ["host", *["node2", "is", "unreachable"]]]  # fmt: skip
    objects = [json.loads(line) for line in virt_scheduler("events", "--json").stdout.splitlines()]
    assert [each["id"] for each in objects] == [1, 2]


def test_reload_says_what_changed(virt_scheduler: Command) -> None:
    assert virt_scheduler("reload").stdout == "mode: recommend -> auto\n"


@pytest.mark.parametrize("command", ["status", "hosts", "vms", "history", "decisions", "recommendations"])
def test_a_pipe_gets_no_escape_codes_and_80_columns_are_kept(virt_scheduler: Command, command: str) -> None:
    shown = virt_scheduler(command).stdout
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_no_daemon_is_one_line_that_names_the_socket_and_the_cure(without_daemon: Command) -> None:
    shown = without_daemon("status")
    assert shown.exit_code == 2
    assert shown.stderr == (
        f"virt-scheduler: no daemon at {without_daemon.socket}: "
        "start it with `systemctl start virt-scheduler` or `virt-scheduler run`\n"
    )


def test_something_else_at_the_socket_is_told_in_one_line(without_daemon: Command) -> None:
    without_daemon.socket.write_text("not a socket")
    shown = without_daemon("hosts")
    assert shown.exit_code == 2
    assert len(shown.stderr.splitlines()) == 1
    assert str(without_daemon.socket) in shown.stderr
