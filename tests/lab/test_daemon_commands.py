"""The commands against a real daemon: one JSON document each, exit codes to rely on, names of any kind, no daemon."""

import json
import os
import tarfile

import pytest

from scheduler.lab.guest import GuestSpec
from scheduler.lab.lab import Lab
from tests.lab.conftest import StartDaemon
from tests.lab.running_daemon import FAST, Done, define, ended, running_on, start, until

pytestmark = pytest.mark.lab

NOBODY = 65534
NAMES = ("my vm", "бд-Ω😀", "--json", "web[1]*", "a'b\"c<d&e", "[red]x")


def check(arguments: tuple[str, ...], done: Done, exit_code: int) -> None:
    assert done.exit_code == exit_code, (arguments, done)
    assert isinstance(done.json, dict), arguments
    assert "Traceback" not in done.err


def test_every_command_prints_one_json_document(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(FAST, '[[pins]]\nvm = "legacy-*"\nhosts = ["node1"]\n', mode="recommend")
    file = daemon.define_file(quick_lab, GuestSpec("vm1"))
    assert daemon.run("place", "--host", "node3", file).exit_code == 0
    define(quick_lab, "node2", GuestSpec("vm2"))
    define(quick_lab, "node3", GuestSpec("legacy-erp"))
    start(quick_lab, "node3", "legacy-erp", paused=True)
    [recommended] = until(lambda: daemon.get("recommendations")["recommendations"], "something is recommended")
    cycle = str(recommended["cycle"])
    looking = {
        ("status",): 0,
        ("hosts",): 0,
        ("vms",): 0,
        ("vms", "vm*"): 0,
        ("explain", "vm1"): 0,
        ("explain", "vm2", "--host", "node1"): 0,
        ("explain", "nothing"): 2,
        ("snapshot",): 0,
        ("history",): 0,
        ("decisions",): 0,
        ("recommendations",): 0,
        ("check",): 0,
        ("check", "--connect"): 0,
        ("matrix",): 0,
        ("matrix", "--vm", "vm1"): 0,
        ("matrix", "--baseline"): 0,
        ("place", "--dry-run", daemon.define_file(quick_lab, GuestSpec("vm3"))): 0,
        ("place", file): 3,
        ("start", "--dry-run", "vm2"): 0,
        ("start", "vm1"): 3,
        ("migrate", "--dry-run", "vm1"): 0,
        ("migrate", "vm2"): 3,
        ("abort", "vm1"): 3,
        ("drain", "--dry-run", "node2"): 0,
        ("approve", "77"): 2,
        ("cordon", "nowhere"): 2,
    }
    commands = [daemon.begin(*arguments, "--json") for arguments in looking]
    for (arguments, exit_code), done in zip(looking.items(), [ended(command) for command in commands], strict=True):
        check(arguments, done, exit_code)
    for arguments, exit_code in (
        (("dismiss", "1"), 0),
        (("dismiss", "1"), 3),
        (("reload",), 0),
        (("cordon", "node1"), 0),
        (("uncordon", "node1"), 0),
    ):
        check(arguments, daemon.run(*arguments, "--json"), exit_code)
    for line in daemon.run("events", "--json").out.splitlines():
        assert {"id", "at", "kind", "text"} <= json.loads(line).keys()
    check(("decisions", cycle), daemon.run("decisions", cycle, "--json"), 0)
    then = daemon.folder / "then.json"
    then.write_text(daemon.run("snapshot", "--cycle", cycle).out)
    again, record = daemon.run("plan", "--snapshot", str(then), "--json").json, daemon.get(f"decisions/{cycle}")
    assert again | {"planning_seconds": 0} == record["decision"]["plan"] | {"planning_seconds": 0}
    assert [one["state"] for one in record["doings"]["recommendations"]] == ["dismissed"]


def test_a_report_has_the_hosts_versions_while_the_daemon_lives_and_when_it_is_dead(
    quick_lab: Lab, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(FAST, '[[pins]]\nvm = "vm1"\nhosts = ["node1"]\n', mode="recommend")
    define(quick_lab, "node3", GuestSpec("vm1"))
    start(quick_lab, "node3", "vm1", paused=True)
    until(lambda: daemon.get("recommendations")["recommendations"], "something is recommended")
    for name, of_the_daemon in (("alive", True), ("dead", False)):
        if not of_the_daemon:
            daemon.kill()
        path = daemon.folder / f"{name}.tar.gz"
        assert daemon.run("report", "--output", str(path)).exit_code == 0
        with tarfile.open(path) as tar:
            files = {member.name.partition("/")[2]: tar.extractfile(member) for member in tar.getmembers()}
            assert ("status.json" in files) is of_the_daemon
            assert {"config.json", "journal.sqlite", "versions.json", "README.txt"} <= files.keys()
            told = files["versions.json"]
            assert told is not None
            hosts = json.load(told)["hosts"]
        assert set(hosts) == {"node1", "node2", "node3"}
        assert all(host["libvirt_version"] and host["hypervisor_version"] for host in hosts.values())


def test_names_of_any_kind_are_names(quick_lab: Lab, start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    for name in NAMES:
        define(quick_lab, "node3", GuestSpec(name))
    until(lambda: daemon.get("status")["vms_total"] == len(NAMES), "all are seen")
    for name in NAMES:
        done = daemon.run("start", "--dry-run", "--json", "--", name)
        assert (done.exit_code, [record["vm"] for record in done.json["placements"]]) == (0, [name]), done
    shown = daemon.run("vms").out.splitlines()
    assert len(shown) == 1 + len(NAMES)
    assert all(any(line.startswith(name) for line in shown) for name in NAMES)
    assert daemon.run("start", "--host", "node2", "--", "--json").exit_code == 0
    assert running_on(quick_lab, "--json") == ["node2"]


def test_without_a_daemon_or_the_right_to_use_it_one_line_says_what_to_do(
    quick_lab: Lab, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon()
    elsewhere = daemon.run("--socket", "/nowhere/api.sock", "hosts")
    assert (elsewhere.exit_code, elsewhere.err.count("\n")) == (2, 1)
    assert "/nowhere/api.sock" in elsewhere.err
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os._exit(0 if os.access(daemon.socket, os.W_OK) else 13)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 13
    daemon.kill()
    gone = daemon.run("hosts", "--json")
    assert gone.exit_code == 2
    assert gone.json["error"]["code"] == "unavailable"
    assert gone.err.count("\n") == 1
    assert "no daemon at" in gone.err
