"""The demonstration really happens, also right after one that was killed, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.lab.lab import HOME

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]

COMMAND = (sys.executable, "-m", "scheduler.lab.demo")
CHAPTERS = (
    "1. Three hosts of three CPU generations",
    "2. VMs are placed, each on its best host, and it says why",
    "3. A move to an older CPU is refused before the attempt",
    "4. Load rises on one host, and the daemon relieves it by a live migration",
    "5. A host is drained, its VMs in one command",
    "6. What Prometheus scrapes of it all",
)


@pytest.fixture
def short_tmp_path() -> Iterator[Path]:
    """A temporary directory whose sockets' paths are not too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="vs-", dir="/tmp") as directory:
        yield Path(directory)


def processes_of(directory: Path) -> list[str]:
    """Command lines that name a file of that directory."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = cmdline.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(directory) in text:
            found.append(text)
    return found


def kill_one_in_the_middle(scratch: Path) -> None:
    """Start a demonstration and kill it once its hosts serve and its daemon runs."""
    demo = subprocess.Popen(COMMAND, env=os.environ | {"TMPDIR": str(scratch)}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(scratch.glob("*/api.sock")):
            assert demo.poll() is None, "the demonstration ended by itself"
            assert time.monotonic() < deadline, "its daemon did not come up"
            time.sleep(0.1)
    finally:
        demo.send_signal(signal.SIGKILL)
        demo.wait()


@pytest.mark.alone
def test_the_demonstration_works_after_a_killed_one_and_leaves_nothing(short_tmp_path: Path) -> None:
    kill_one_in_the_middle(short_tmp_path)
    began = time.monotonic()
    done = subprocess.run(
        COMMAND, env=os.environ | {"TMPDIR": str(short_tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for chapter in CHAPTERS:
        assert chapter in done.stdout
    assert "removed what a killed run had left" in done.stdout
    assert "lacks" in done.stdout
    assert "avx2" in done.stdout
    assert "the daemon moved" in done.stdout
    assert 'trigger="balance"' in done.stdout
    assert time.monotonic() - began < 400
    assert processes_of(short_tmp_path) == []
    assert list(short_tmp_path.iterdir()) == []
    assert [link.readlink() for link in (HOME / "index").iterdir() if short_tmp_path in link.readlink().parents] == []
