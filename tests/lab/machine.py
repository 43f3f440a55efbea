"""A machine with a real systemd as process 1, in namespaces of this one; what happens in it never reaches this one.

Its root is an overlay over this machine's, kept in memory. It ends with the process that booted it, even when that is
killed: the kernel ends process 1 of a process namespace with all that is in it, and its mounts go with it. What a
killed test leaves are empty control groups, which the next boot removes.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from scheduler.lab import command

_GROUPS = "vsmachine-"
_BOOT_SECONDS = 60

# Control groups of version 2 are there on every kernel, whatever the machine itself mounts: systemd gets a tree of its
# own by a control group namespace. Nothing that the admin has enabled here starts in it, and nothing, as in images
# for containers, keeps packages from starting their services.
_BOOT = """
scratch=$1 group=$2; shift 2
mount -t tmpfs layers "$scratch"
cd "$scratch"
mkdir groups upper work root
mount -t cgroup2 groups groups
rmdir groups/vsmachine-*/*/*/ groups/vsmachine-*/*/ groups/vsmachine-*/ 2>/dev/null || :
mkdir "groups/$group"
echo $$ > "groups/$group/cgroup.procs"
umount groups

mount -t overlay root -o lowerdir=/,upperdir=upper,workdir=work root
cd root
rm -rf etc/systemd/system/*.wants usr/sbin/policy-rc.d var/log/journal
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
for place in run tmp dev; do mount -t tmpfs "$place" "$place"; done
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
mkdir dev/shm dev/pts run/before
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
while [ $# -gt 0 ]; do
    mkdir -p "./$2"
    mount --bind "$1" "./$2"
    shift 2
done
exec unshare --cgroup sh -ec '
    mount -t cgroup2 cgroup sys/fs/cgroup
    pivot_root . run/before
    umount --lazy /run/before
    # As container managers leave it: systemd hands credentials over by a mount that has to reach its own namespace.
    mount --make-rshared /
    exec env --ignore-environment PATH="$PATH" LC_ALL=C container=lab \\
        /lib/systemd/systemd --system --unit=basic.target --show-status=no
'
"""
_NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child=KILL", "--propagation=private")


class Machine:
    """A booted machine; `close` it. `binds` maps directories of this machine to where they are seen in it."""

    def __init__(self, scratch: Path, binds: Mapping[Path, str]) -> None:
        arguments = [str(part) for bind in binds.items() for part in bind]
        scratch.mkdir()
        self._console = scratch.with_name("console")
        boot = ["sh", "-ec", _BOOT, "sh", str(scratch), f"{_GROUPS}{os.getpid()}", *arguments]
        with self._console.open("w") as console:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", *_NAMESPACES, *boot],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=os.environ | {"PATH": command.SYSTEM_PATH},
            )
        try:
            self._await_boot()
        except BaseException:
            self.close()
            raise

    def _await_boot(self) -> None:
        deadline = time.monotonic() + _BOOT_SECONDS
        while self.run("systemctl", "is-system-running", fine=False).stdout.strip() not in {"running", "degraded"}:
            assert self._process.poll() is None, f"the machine ended: {self._console.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"the machine does not come up: {self._console.read_text()[-2000:]}"
            time.sleep(0.05)

    def run(self, *arguments: str, fine: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in it, as its root; unless `fine` is false it has to succeed."""
        enter = ["nsenter", f"--target={self._init}", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"]
        done = subprocess.run(
            [*enter, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"PATH": command.SYSTEM_PATH, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
        assert not fine or done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def write(self, path: str, text: str) -> None:
        """Write a file in it; its directory is made."""
        self.run("sh", "-ec", 'mkdir -p "$(dirname "$1")"; cat > "$1"', "sh", path, stdin=text)

    def close(self) -> None:
        """Switch it off."""
        self._process.kill()
        self._process.wait()

    @property
    def _init(self) -> int:
        """Its process 1, as this machine numbers it."""
        children = ""
        with contextlib.suppress(FileNotFoundError):
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return int((children.split() or ["0"])[0])
