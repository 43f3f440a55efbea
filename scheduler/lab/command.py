"""Running the system's own tools and waiting for what they start."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

from .errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where the tools are, whatever the caller's own PATH."""


def run(command: Sequence[str], *, timeout_seconds: float = 30, stdin: str | None = None) -> str:
    """Run `command` and return what it printed.

    Raises:
        LabError: it is missing, took too long or failed; carries the last line of its standard error.
    """
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            env=os.environ | {"PATH": SYSTEM_PATH, "LC_ALL": "C"},
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]}: command not found") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(command)}: no end after {timeout_seconds:g} s") from error
    if done.returncode != 0:
        last_line = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise LabError(f"{' '.join(command)}: {last_line}")
    return done.stdout


def wait_until(condition: Callable[[], bool], what: str, *, timeout_seconds: float) -> None:
    """Look at `condition` every 20 ms until it holds.

    Raises:
        LabError: it did not within `timeout_seconds`; the text says `what` was awaited.
    """
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout_seconds:g} s")
        time.sleep(0.02)
