"""What the daemon under test stands on: a state directory that can fill up, and a wall clock that can jump.

Both end with the process that made them, however that ends.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from scheduler.lab.command import run

_DISK_MIB = 24
_KEEP = 'mount -t tmpfs -o "size=$2m" tmpfs "$1"; echo mounted; exec sleep infinity'
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
_CLOCK_SOURCE = Path(__file__).with_name("clock.c")


class StateDisk:
    """A small file system at `mounted_at`, seen only by what runs within this one's mount namespace."""

    def __init__(self, mounted_at: Path) -> None:
        mounted_at.mkdir()
        unshared = ("unshare", "--mount", "--propagation", "private", "sh", "-ec", _KEEP, "sh")
        self._keeper = subprocess.Popen(
            (*_DIES_WITH_US, *unshared, str(mounted_at), str(_DISK_MIB)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == b"mounted\n"
        self.within = ("nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt", *_DIES_WITH_US)
        """What runs a command inside it, which dies with this process."""
        self.path = Path(f"/proc/{self._keeper.pid}/root{mounted_at}")
        """Its files, as seen from outside."""

    @property
    def journal(self) -> Path:
        """The daemon's journal."""
        return self.path / "journal.sqlite"

    def fill(self) -> None:
        """Leave no room."""
        with (self.path / "ballast").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(bytes(4096)) == 4096:
                    pass
            except OSError:
                return

    def empty(self) -> None:
        """Make room again."""
        (self.path / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        self._keeper.kill()
        self._keeper.wait()
        assert self._keeper.stdout is not None
        self._keeper.stdout.close()


class WallClock:
    """The wall clock of the processes run `within` it; the machine's own stays as it is."""

    def __init__(self, folder: Path) -> None:
        library = folder / "clock.so"
        run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_CLOCK_SOURCE)])
        self._shift = folder / "clock-shift"
        self.jump_to(0)
        self.within = ("env", f"LD_PRELOAD={library}", f"SOAK_CLOCK_SHIFT={self._shift}")

    def jump_to(self, seconds: int) -> None:
        """Go wrong by so much."""
        # In place: the readers have the file mapped.
        with self._shift.open("r+b" if self._shift.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))
