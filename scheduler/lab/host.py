"""One host of the lab: a libvirtd in namespaces of its own, its private files, and what can be done to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt  # type: ignore[import-untyped]

from . import cgroup, network, reported
from .command import run, wait_until
from .errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .spec import HostSpec

_MOUNTS = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
    "hosts": "/etc/hosts",
    "passwd": "/etc/passwd",
    "group": "/etc/group",
    reported.STAT: "/proc/stat",
    reported.MEMINFO: "/proc/meminfo",
    reported.SYSTEM_DEVICES: "/sys/devices/system",
}
_PRIVATE_FOLDERS = ("etc", "lib", "log", "cache", "run")
_REAPER = Path(__file__).with_name("reaper.py")
_MAX_SOCKET_PATH_BYTES = 107
_SERVES_WITHIN_SECONDS = 60

# libvirtd takes a KVM that it may open for one that works, and tells of the machine's own CPU instead of the host's.
# What is mounted read-only not even root may open. /run is mounted last: it may hold what is mounted before. The group
# is joined before anything else because `ip netns exec` mounts a fresh /sys without control groups; libvirtd, seeing
# none, leaves its guests in this one.
_START = """
group=$1 namespace=$2; shift 2
echo $$ > "$group/cgroup.procs"
exec ip netns exec "$namespace" unshare --mount --uts --propagation private sh -ec '
  folder=$1 name=$2 python=$3 reaper=$4; shift 4
  while [ $# -gt 0 ]; do mount --bind "$folder/$1" "$2"; shift 2; done
  if [ -e /dev/kvm ]; then
    mount --bind "$folder/no-kvm" /dev/kvm
    mount -o remount,bind,ro /dev/kvm
  fi
  hostname "$name"
  cd /
  exec > "$folder/log/libvirtd.log" 2>&1 < /dev/null
  mount --bind "$folder/run" /run
  rm -f /run/libvirtd.pid /run/libvirt/libvirt-sock
  exec setsid --fork "$python" -I -S "$reaper" libvirtd --listen
' sh "$@"
"""

# A libvirtd that gives another up while the two hand a guest over (after 30 s by default) leaves it running on both.
_LIBVIRTD_CONF = """\
host_uuid = "{uuid}"
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_rw = "none"
unix_sock_group = "libvirt"
unix_sock_rw_perms = "0770"
keepalive_count = 60
"""

_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
keepalive_count = 60
migration_host = "{migration_address}"
"""


@dataclass(frozen=True, slots=True)
class LabHost:
    """One host. `position` counts from 0; `folder` holds all its private files."""

    lab_id: str
    spec: HostSpec
    position: int
    network: str
    uuid: str
    folder: Path

    @property
    def name(self) -> str:
        """The host's name, which its libvirtd reports too."""
        return self.spec.name

    @property
    def address(self) -> str:
        """Where its libvirtd listens for the other hosts."""
        return f"{self.network}.0.{self.position + 1}"

    @property
    def migration_address(self) -> str:
        """Where its QEMU listens for incoming migrations: a network of its own."""
        return f"{self.network}.1.{self.position + 1}"

    @property
    def socket(self) -> Path:
        """Its libvirtd's socket, as seen from outside."""
        return self.folder / "run/libvirt/libvirt-sock"

    @property
    def uri(self) -> str:
        """How to reach its libvirtd from this machine."""
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def peer_uri(self) -> str:
        """How the other hosts reach its libvirtd."""
        return f"qemu+tcp://{self.address}/system"

    @property
    def namespace(self) -> str:
        """Its network namespace."""
        return network.host_namespace(self.lab_id, self.name)

    def create(self, etc_hosts: str) -> None:
        """Lay out its files, its place in the network and its CPU group, as yet without a quota."""
        if len(os.fsencode(self.socket)) > _MAX_SOCKET_PATH_BYTES:
            raise LabError(f"{self.socket}: longer than a socket's path may be; choose a shorter directory")
        for name in _PRIVATE_FOLDERS:
            (self.folder / name).mkdir(parents=True)
        (self.folder / "hosts").write_text(etc_hosts)
        for name in ("passwd", "group"):
            shutil.copyfile(f"/etc/{name}", self.folder / name)
        (self.folder / "no-kvm").touch()
        (self.folder / "etc/libvirtd.conf").write_text(_LIBVIRTD_CONF.format(uuid=self.uuid))
        (self.folder / "etc/qemu.conf").write_text(_QEMU_CONF.format(migration_address=self.migration_address))
        # libvirtd binds its guests to the CPUs it sees, so hosts of one core must not all see the same one.
        first_cpu = self.position % len(os.sched_getaffinity(0)) if self.spec.cpus == 1 else 0
        reported.create_files(self.folder, self.spec, first_cpu)
        network.attach_host(self.lab_id, self.name, [f"{self.address}/16", f"{self.migration_address}/16"])
        cgroup.create(self.lab_id, self.name)

    def add_user(self, name: str, uid: int, gid: int) -> None:
        """Make a user of another machine known here: libvirtd hangs up on whom it cannot name. At once in force."""
        lines = {"passwd": f"{name}:x:{uid}:{gid}::/:/usr/sbin/nologin", "group": f"{name}:x:{gid}:"}
        for record, line in lines.items():
            with (self.folder / record).open("a") as file:
                file.write(f"{line}\n")

    def start_libvirtd(self) -> None:
        """Start libvirtd; it finds the guests that are still running. Returns before it serves."""
        if self.libvirtd_pid() is not None:
            return
        group = cgroup.lab_group(self.lab_id) / self.name
        inside = [str(self.folder), self.name, sys.executable, str(_REAPER)]
        mounts = [argument for mount in _MOUNTS.items() for argument in mount]
        run(["sh", "-ec", _START, "sh", str(group), self.namespace, *inside, *mounts])

    def wait_until_serving(self) -> None:
        """Wait until libvirtd answers, which it does once it has probed QEMU.

        Raises:
            LabError: it ended or takes too long; carries the last line of its log.
        """
        log = self.folder / "log/libvirtd.log"

        def last_line() -> str:
            return (log.read_text().splitlines() or ["its log is empty"])[-1]

        def serving() -> bool:
            if not network.processes(self.namespace):
                raise LabError(f"libvirtd of {self.name} ended: {last_line()}")
            if not self.socket.exists():
                return False
            try:
                with self.connect() as connection:
                    connection.getCapabilities()
            except libvirt.libvirtError:
                return False
            return True

        try:
            wait_until(serving, f"libvirtd of {self.name} serves", timeout_seconds=_SERVES_WITHIN_SECONDS)
        except LabError as error:
            raise LabError(f"{error}: {last_line()}") from error

    def stop_libvirtd(self) -> None:
        """Stop libvirtd as a service manager would; its guests keep running."""
        self._end_libvirtd(signal.SIGTERM)

    def kill_libvirtd(self) -> None:
        """Let libvirtd crash; its guests keep running."""
        self._end_libvirtd(signal.SIGKILL)

    def restart_libvirtd(self) -> None:
        """Stop libvirtd, start it again and wait until it serves."""
        self.stop_libvirtd()
        self.start_libvirtd()
        self.wait_until_serving()

    def freeze_libvirtd(self) -> None:
        """Make libvirtd hang: connections stay open and get no answer."""
        os.kill(self._running_libvirtd(), signal.SIGSTOP)

    def thaw_libvirtd(self) -> None:
        """End a hang."""
        os.kill(self._running_libvirtd(), signal.SIGCONT)

    def libvirtd_pid(self) -> int | None:
        """The process id of its libvirtd; None when it is not running."""
        try:
            pid = int((self.folder / "run/libvirtd.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if pid in network.processes(self.namespace) else None

    def guest_pids(self) -> list[int]:
        """Process ids of its QEMUs."""
        return [pid for pid in network.processes(self.namespace) if _process_name(pid).startswith("qemu-system")]

    def lose_power(self) -> None:
        """End libvirtd and every guest at once; `start_libvirtd` brings the host back without them."""
        for pid in network.processes(self.namespace):
            _kill(pid)
        wait_until(lambda: not network.processes(self.namespace), f"{self.name} is dark", timeout_seconds=10)

    def remove_guests(self) -> None:
        """End and undefine every guest."""
        # Killed rather than destroyed: libvirtd gives a QEMU two seconds to end by itself.
        for pid in self.guest_pids():
            _kill(pid)
        with self.connect() as connection:

            def none_left() -> bool:
                for domain in connection.listAllDomains():
                    # A transient one goes by itself, and may have gone since it was listed.
                    with contextlib.suppress(libvirt.libvirtError):
                        if domain.isPersistent() and not domain.isActive():
                            domain.undefine()
                return not connection.listAllDomains()

            wait_until(none_left, f"no guest is left on {self.name}", timeout_seconds=15)

    @contextlib.contextmanager
    def connect(self) -> Iterator[libvirt.virConnect]:
        """A connection to its libvirtd, closed at the end of the block."""
        connection = libvirt.open(self.uri)
        try:
            yield connection
        finally:
            connection.close()

    def _running_libvirtd(self) -> int:
        pid = self.libvirtd_pid()
        if pid is None:
            raise LabError(f"libvirtd of {self.name} is not running")
        return pid

    def _end_libvirtd(self, signal_number: signal.Signals) -> None:
        pid = self.libvirtd_pid()
        if pid is None:
            return
        os.kill(pid, signal_number)
        # A frozen one can act on nothing but SIGKILL until it is thawed; one that was killed may be gone by now.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: self.libvirtd_pid() is None, f"libvirtd of {self.name} ends", timeout_seconds=15)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _process_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
