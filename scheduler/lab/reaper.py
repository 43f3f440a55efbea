"""The parent of a host's libvirtd, which collects its QEMUs when they end: `python reaper.py COMMAND...`.

A QEMU detaches from libvirtd, so that its end is for process 1 to collect. Some collect only every few seconds (those
of small containers do), and libvirtd waits for it before it calls a migration done. Run as a plain file: it imports
nothing of the package, to be small and quick to start.
"""

import ctypes
import os
import sys

_PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> None:
    """Run `command` and collect all its descendants that lose their parent, until none is left."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.fork() == 0:
        os.execvp(command[0], command)  # noqa: S606  there is nothing for a shell to do
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
