"""The Debian package on a machine with a real systemd as process 1, beside the lab's hosts: from install to purge.

The tests use one machine, in their order; each leaves the service running.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.lab.guest import GuestSpec
from scheduler.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.running_daemon import FAST, SLOW_MIGRATION, definitions, run_guests, running_on, until
from tests.unit.web.pki import Authority

pytestmark = [pytest.mark.lab, pytest.mark.alone]

ROOT = Path(__file__).parents[2]
UNIT = "virt-scheduler.service"
CONFIG = "/etc/virt-scheduler/config.toml"
HANG = "/usr/lib/virt-scheduler/lib/python{}.{}/site-packages/hang.pth".format(*sys.version_info)
NEXT = """
cd /root
dpkg-deb --raw-extract "$1" next
sed -i 's/^Version: .*/&+next/' next/DEBIAN/control
echo '# New in the next version.' >> next/etc/virt-scheduler/config.toml
dpkg-deb --root-owner-group -Znone --build next next.deb
rm -r next
"""
"""Makes the next version's package of this one's."""
TLS = """
[api.tls]
listen = "127.0.0.1:9178"
certificate = "/etc/virt-scheduler/server.pem"
key = "/run/credentials/virt-scheduler.service/server.key"
"""
DROP_IN = f"/run/systemd/system/{UNIT}.d/lab.conf"


class Service:
    """The installed service on a machine."""

    def __init__(self, machine: Machine, lab: Lab) -> None:
        self.machine = machine
        self._lab = lab

    def configure(self, head: str = FAST, tables: str = "", *, mode: str = "auto") -> None:
        """Write the config: the lab's hosts, by their sockets as the machine sees them."""
        hosts = "".join(
            f'[[hosts]]\nname = "{host.name}"\nuri = "qemu+unix:///system?socket=/run/{host.name}/libvirt-sock"\n'
            f'peer_uri = "{host.peer_uri}"\nmigration_address = "{host.migration_address}"\n'
            'reserved_memory = "64MiB"\n'
            for host in self._lab.hosts.values()
        )
        self.machine.write(CONFIG, f'mode = "{mode}"\n{head}{hosts}{tables}')

    def systemctl(self, verb: str) -> None:
        self.machine.run("systemctl", verb, *([] if verb == "daemon-reload" else [UNIT]))

    def property(self, name: str) -> str:
        """What systemd says of the unit."""
        return self.machine.run("systemctl", "show", f"--property={name}", "--value", UNIT).stdout.strip()

    def ask(self, *arguments: str) -> Any:
        """What a command of the daemon prints as JSON."""
        return json.loads(self.machine.run("virt-scheduler", *arguments, "--json").stdout)

    def log(self, *matches: str) -> list[dict[str, str]]:
        """The unit's entries in the journal, oldest first."""
        out = self.machine.run("journalctl", "--output=json", f"--unit={UNIT}", *matches).stdout
        return [json.loads(line) for line in out.splitlines()]


def files(machine: Machine) -> set[str]:
    """All files and directories of a machine, but for the logs and what dpkg and systemd remember."""
    places = ("/etc", "/home", "/opt", "/root", "/usr", "/var")
    listed = machine.run("find", *places, "-xdev").stdout.splitlines()
    kept = re.compile(r"/var/(log|cache|lib/(dpkg|systemd))/|/etc/\.pwd\.lock$|/etc/(passwd|group|g?shadow)-$")
    return {path for path in listed if not kept.match(path)}


@pytest.fixture(scope="module")
def package() -> str:
    """The path of the Debian package, built anew."""
    built = subprocess.run(["make", "--silent", "deb"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return built.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def machine(lab: Lab, package: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that sees the sockets of the lab's hosts, and where nothing is installed yet."""
    binds = {host.socket.parent: f"/run/{host.name}" for host in lab.hosts.values()}
    binds[(ROOT / package).parent] = "/run/packages"
    binds[ROOT] = "/run/checkout"
    booted = Machine(tmp_path_factory.mktemp("machine") / "scratch", binds)
    yield booted
    booted.close()


@pytest.fixture(scope="module")
def bare(machine: Machine) -> set[str]:
    """The machine's files before the package came."""
    return files(machine)


@pytest.fixture(scope="module")
def installed(bare: set[str], machine: Machine, lab: Lab, package: str) -> Service:
    machine.run("dpkg", "--install", "--force-unsafe-io", f"/run/packages/{Path(package).name}")
    uid, gid = machine.run("getent", "passwd", "virt-scheduler").stdout.split(":")[2:4]
    for host in lab.hosts.values():
        host.add_user("virt-scheduler", int(uid), int(gid))
    return Service(machine, lab)


@pytest.fixture
def service(installed: Service, quick_lab: Lab) -> Service:
    """The service on the lab's hosts, just started."""
    installed.configure()
    installed.systemctl("restart")
    return installed


def test_the_package_brings_user_service_manual_and_completion(installed: Service) -> None:
    run = installed.machine.run
    assert "libvirt" in run("id", "--name", "--groups", "virt-scheduler").stdout.split()
    assert installed.property("UnitFileState") == "enabled"
    assert installed.property("ActiveState") == "active"
    assert run("stat", "--format=%U %G %a", "/etc/virt-scheduler").stdout.split() == ["root", "virt-scheduler", "750"]
    assert installed.ask("check")["valid"]
    assert run("virt-scheduler", "--version").stdout.startswith("virt-scheduler, version ")
    completed = run(
        "bash",
        "-ec",
        "source /usr/share/bash-completion/completions/virt-scheduler; COMP_WORDS=(virt-scheduler rel) COMP_CWORD=1;"
        "_virt_scheduler_completion virt-scheduler; echo ${COMPREPLY[@]}",
    )
    assert completed.stdout.split() == ["reload"]


def test_systemd_finds_the_installed_unit_clean_and_closed(installed: Service) -> None:
    verified = installed.machine.run("systemd-analyze", "verify", "--man=no", UNIT)
    assert verified.stdout + verified.stderr == ""
    rated = installed.machine.run("systemd-analyze", "security", UNIT).stdout
    level = re.search(r"exposure level for virt-scheduler.service: ([\d.]+)", rated)
    assert level is not None
    assert float(level[1]) <= 1.5


def test_start_returns_when_the_daemon_is_ready_and_the_status_is_the_cycle_s(service: Service) -> None:
    status = service.ask("status")
    assert status["ready"]
    assert status["hosts_down"] == {}
    sentence = until(lambda: service.ask("status")["cycle"] and service.ask("status")["sentence"], "a cycle")
    until(lambda: service.property("StatusText") == sentence, "systemd shows it", seconds=15)


def test_it_runs_as_nobody_else_and_with_no_capability(service: Service) -> None:
    process = service.machine.run("cat", f"/proc/{service.property('MainPID')}/status").stdout
    facts = dict(line.split(":\t") for line in process.splitlines())
    user, group, libvirt = (
        service.machine.run("getent", *key.split()).stdout.split(":")[2]
        for key in ("passwd virt-scheduler", "group virt-scheduler", "group libvirt")
    )
    assert set(facts["Uid"].split()) == {user}
    assert set(facts["Gid"].split()) == {group}
    assert set(facts["Groups"].split()) == {group, libvirt}
    assert {int(facts[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")


def test_reload_applies_the_config_and_fails_on_mistakes(service: Service) -> None:
    service.configure(mode="observe")
    service.systemctl("reload")
    assert service.ask("status")["mode"] == "observe"
    service.configure(mode="automatic")
    assert service.machine.run("systemctl", "reload", UNIT, fine=False).returncode != 0
    status = service.ask("status")
    assert status["mode"] == "observe"
    assert "mode: 'automatic' is not allowed" in status["config_error"]
    assert service.property("ActiveState") == "active"


def test_the_journal_has_priorities_and_fields(service: Service) -> None:
    [ready, *_] = service.log("VIRT_SCHEDULER_MODE=auto", f"_PID={service.property('MainPID')}")
    assert (ready["PRIORITY"], ready["SYSLOG_IDENTIFIER"], ready["_SYSTEMD_UNIT"]) == ("6", "virt-scheduler", UNIT)
    assert ready["VIRT_SCHEDULER_HOSTS"] == "3"
    assert ready["MESSAGE"].startswith("ready hosts=3 mode='auto'")
    service.configure(tables='[[hosts]]\nname = "gone"\nuri = "qemu+unix:///system?socket=/run/gone"\n')
    service.machine.run("sed", "-i", "$a peer_uri = 'qemu+tcp://gone/system'", CONFIG)
    service.systemctl("reload")
    [lost, *_] = until(lambda: service.log("VIRT_SCHEDULER_HOST=gone"), "it is told")
    assert lost["PRIORITY"] == "4"
    cycles = [entry["VIRT_SCHEDULER_CYCLE"] for entry in service.log() if "VIRT_SCHEDULER_CYCLE" in entry]
    assert service.ask("status")["cycle"].split("-")[0][:8] in cycles[-1]


def test_a_migration_outlives_stop_and_is_taken_up_at_the_next_start(service: Service, quick_lab: Lab) -> None:
    service.configure(tables=SLOW_MIGRATION)
    service.systemctl("reload")
    run_guests(quick_lab, "node1", [GuestSpec("vm1")])
    until(lambda: service.ask("vms", "vm1")["vms"], "it is seen")
    service.machine.run("virt-scheduler", "migrate", "vm1", "--to", "node2", "--no-wait")
    until(lambda: newest(service)["state"] == "migrating" and newest(service)["progress_ratio"], "it migrates")
    service.systemctl("stop")
    assert service.property("Result") == "success"
    assert running_on(quick_lab, "vm1") == ["node1"]
    service.systemctl("start")
    adopted = newest(service)
    assert adopted["state"] in {"migrating", "verifying"}
    until(lambda: newest(service)["state"] == "completed", "it ends")
    assert newest(service)["id"] == adopted["id"]
    assert definitions(quick_lab, "vm1") == running_on(quick_lab, "vm1") == ["node2"]


def test_the_key_of_the_api_may_be_a_credential_that_only_root_can_read(service: Service, tmp_path: Path) -> None:
    machine, authority = service.machine, Authority(tmp_path)
    certificate, key = (path.read_text() for path in authority.server())
    machine.write("/root/tls/key", key)
    machine.run("chmod", "600", "/root/tls/key")
    machine.write("/root/tls/ca.pem", authority.ca.read_text())
    machine.write("/etc/virt-scheduler/server.pem", certificate)
    machine.write(DROP_IN, "[Service]\nLoadCredential=server.key:/root/tls/key\n")
    service.configure(tables=TLS + token(machine))
    service.systemctl("daemon-reload")
    service.systemctl("restart")
    over_tls = ("virt-scheduler", "--server=https://127.0.0.1:9178", "--ca=/root/tls/ca.pem")
    status = machine.run(*over_tls, "--token-file=/root/tls/token", "status", "--json")
    assert json.loads(status.stdout)["hosts_up"] == 3
    machine.write("/root/tls/wrong", "wrong\n")
    assert "token" in machine.run(*over_tls, "--token-file=/root/tls/wrong", "status", fine=False).stderr
    machine.run("rm", "-r", DROP_IN, "/root/tls", "/etc/virt-scheduler/server.pem")
    service.systemctl("daemon-reload")


def test_a_report_has_the_service_s_log_and_no_secret(service: Service) -> None:
    run, table = service.machine.run, token(service.machine)
    service.configure(tables=table)
    service.systemctl("reload")
    run("virt-scheduler", "report", "--output", "/root/report.tar.gz")
    taken = ("tar", "--extract", "--gzip", "--to-stdout", "--wildcards", "--file=/root/report.tar.gz")
    assert "ready hosts=3 mode='auto'" in run(*taken, "*/log.txt").stdout
    assert json.loads(run(*taken, "*/status.json").stdout)["hosts_up"] == 3
    [digest] = re.findall(r"sha256:(\w+)", table)
    assert run("sh", "-ec", f"zcat /root/report.tar.gz | grep --count {digest}", fine=False).stdout == "0\n"
    run("rm", "-r", "/root/report.tar.gz", "/root/tls")


def token(machine: Machine) -> str:
    """The lines of the config for a token that now stands in /root/tls/token."""
    machine.run("sh", "-ec", "mkdir -p /root/tls; rm -f /root/tls/token")
    return machine.run("virt-scheduler", "token", "watcher", "--role=viewer", "--file=/root/tls/token").stdout


def newest(service: Service) -> dict[str, Any]:
    """The newest migration."""
    record: dict[str, Any] = service.ask("history", "--limit", "1")["migrations"][0]
    return record


@pytest.fixture
def impatient(service: Service) -> Iterator[Service]:
    """The service under a systemd that waits two seconds where it else waits ten and thirty.

    SIGUSR1 makes its control loop hang: Python handles signals in the thread that the loop runs in.
    """
    assert (service.property("RestartUSec"), service.property("WatchdogUSec")) == ("10s", "30s")
    service.machine.write(DROP_IN, "[Service]\nRestartSec=2\nWatchdogSec=2\n")
    service.machine.write(
        HANG, "import signal, time; signal.signal(signal.SIGUSR1, lambda *_, hang=time.sleep: hang(3600))\n"
    )
    service.systemctl("daemon-reload")
    service.systemctl("restart")
    yield service
    service.machine.run("rm", DROP_IN, HANG)
    service.systemctl("daemon-reload")


@pytest.mark.parametrize(("signal", "result"), [("KILL", "signal"), ("USR1", "watchdog")])
def test_one_that_crashes_or_hangs_is_started_again_after_a_while(impatient: Service, signal: str, result: str) -> None:
    restarts, pid = int(impatient.property("NRestarts")), impatient.property("MainPID")
    impatient.machine.run("kill", f"-{signal}", pid)
    until(lambda: impatient.property("SubState") == "auto-restart", "its end is seen", seconds=20)
    assert impatient.property("Result") == result
    assert not up(impatient)
    until(lambda: up(impatient), "it is back", seconds=30)
    assert int(impatient.property("NRestarts")) == restarts + 1
    assert waited_seconds(impatient) >= 2
    assert impatient.property("MainPID") != pid
    assert impatient.ask("status")["hosts_up"] == 3


def up(service: Service) -> bool:
    return service.machine.run("virt-scheduler", "status", fine=False).returncode == 0


def waited_seconds(service: Service) -> float:
    """How long the last start came after the end before it."""
    ended, began = (
        int(service.property(name)) for name in ("ActiveExitTimestampMonotonic", "ExecMainStartTimestampMonotonic")
    )
    return (began - ended) / 1e6


def test_an_upgrade_keeps_the_config_the_history_and_a_service_that_was_disabled(
    service: Service, package: str
) -> None:
    run = service.machine.run
    config = run("cat", CONFIG).stdout
    decided = len(service.ask("decisions")["decisions"])
    service.systemctl("disable")
    run("sh", "-ec", NEXT, "sh", f"/run/packages/{Path(package).name}")
    # As unattended-upgrades does where both the person and the package have changed a file.
    run("dpkg", "--force-unsafe-io", "--force-confdef", "--force-confold", "--install", "/root/next.deb")
    run("rm", "/root/next.deb")
    assert run("dpkg-query", "--show", "--showformat=${Version}", "virt-scheduler").stdout.endswith("+next")
    assert run("cat", CONFIG).stdout == config
    assert run("ls", "/etc/virt-scheduler").stdout.split() == ["config.toml", "config.toml.dpkg-dist"]
    assert service.property("UnitFileState") == "disabled"
    assert service.property("ActiveState") == "active"
    assert len(service.ask("decisions")["decisions"]) >= decided


def test_a_purge_leaves_nothing(service: Service, bare: set[str]) -> None:
    run: Callable[..., Any] = service.machine.run
    run("dpkg", "--remove", "--force-unsafe-io", "virt-scheduler")
    assert run("systemctl", "is-active", UNIT, fine=False).stdout.strip() == "inactive"
    assert run("test", "-e", CONFIG).returncode == 0
    run("dpkg", "--purge", "virt-scheduler")
    assert files(service.machine) - bare == set()
    assert run("getent", "passwd", "virt-scheduler", fine=False).returncode != 0
    assert run("getent", "group", "virt-scheduler", fine=False).returncode != 0
    assert run("find", "/run/virt-scheduler", fine=False).returncode != 0


def test_what_make_installs_runs_and_is_taken_away_by_uninstall(installed: Service, bare: set[str]) -> None:
    """After the package is gone."""
    run: Callable[..., Any] = installed.machine.run
    make = ("make", "--silent", "--directory=/run/checkout", "--assume-old=.build/wheels/.ready")
    run(*make, "install")
    assert run("virt-scheduler", "--version").stdout.startswith("virt-scheduler, version ")
    assert "/usr/bin/virt-scheduler" not in run("systemctl", "cat", UNIT).stdout
    installed.configure(mode="observe")
    run("systemctl", "enable", "--now", UNIT)
    assert installed.ask("status")["mode"] == "observe"
    run(*make, "uninstall")
    assert run("systemctl", "is-active", UNIT, fine=False).stdout.strip() == "inactive"
    left = {path for path in files(installed.machine) - bare if "virt-scheduler" in path}
    assert {path for path in left if not path.startswith("/var/lib/")} == {"/etc/virt-scheduler", CONFIG}
