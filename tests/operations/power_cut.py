"""What a disk may hold after a power cut, worked out from what a program was seen to write and sync (`strace`).

What was synced is there. Of what was not, each write may be there or not, in any combination, and the last of them in
parts: disks write sectors, and in the order that suits them.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STRACE = shutil.which("strace")
WHY_NOT = "strace is in the Debian package of that name"
SECTOR = 512

_CALLS = "pwrite64,write,fdatasync,fsync,ftruncate,unlink"
_LONGEST = 1 << 20
_PIECE = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. \w+ resumed>)?(?P<text>.*?)(?P<unfinished> <unfinished \.\.\.>)?$")
_CALL = re.compile(r'(?P<name>\w+)\((?:\d+<(?P<file>[^>]*)>|"(?P<path>[^"]*)")(?:, (?P<rest>.*))?\) += (?P<result>\d+)')


@dataclass(frozen=True, slots=True)
class Call:
    """A call that worked. `data` and `at` are of a write, `at` is the new size of a truncation."""

    name: str
    file: Path
    data: bytes = b""
    at: int = 0


def traced(command: Sequence[str], trace: Path) -> list[Call]:
    """Run a command to its end; what it wrote, in order."""
    options = ["-f", "-qq", "-y", "-xx", "-s", str(_LONGEST), "-e", f"trace={_CALLS}", "-e", "signal=none"]
    done = subprocess.run(
        [str(STRACE), *options, "-o", str(trace), *command], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return list(_calls(trace.read_text()))


def _calls(trace: str) -> Iterator[Call]:
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        piece = _PIECE.fullmatch(line)
        assert piece is not None, line
        text = begun.pop(piece["pid"], "") + piece["text"]
        if piece["unfinished"]:
            begun[piece["pid"]] = text
        elif found := _CALL.fullmatch(text.strip()):
            yield _call(found)


def _call(found: re.Match[str]) -> Call:
    name, rest = found["name"], found["rest"] or ""
    file = Path(_bytes(found["file"] or found["path"]).decode())
    if name == "ftruncate":
        return Call(name, file, at=int(rest))
    if name not in {"pwrite64", "write"}:
        return Call(name, file)
    data, _, numbers = rest.rpartition('"')
    at = int(numbers.split(", ")[2]) if name == "pwrite64" else 0
    return Call(name, file, _bytes(data.removeprefix('"'))[: int(found["result"])], at)


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


@dataclass(slots=True)
class _File:
    content: bytearray = field(default_factory=bytearray)
    """What is on the disk for sure."""
    pending: list[Call] = field(default_factory=list)
    named: bool = False
    """Its name is in the directory for sure."""
    unlinked: bool = False
    """Its name is gone, not yet for sure."""


class Disk:
    """One directory, through all calls so far."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, _File] = {}

    def take(self, call: Call) -> None:
        """The program does it."""
        if call.file == self._directory:
            self._sync_names()
        elif call.file.parent == self._directory:
            self._take(call)

    def _take(self, call: Call) -> None:
        file = self._files.setdefault(call.file.name, _File())
        match call.name:
            case "fdatasync" | "fsync":
                for one in file.pending:
                    _apply(file.content, one)
                file.pending.clear()
            case "unlink":
                file.unlinked = True
            case _ if file.unlinked:  # a new file of the old name
                self._files[call.file.name] = _File(pending=[call])
            case _:
                file.pending.append(call)

    def _sync_names(self) -> None:
        self._files = {name: file for name, file in self._files.items() if not file.unlinked}
        for file in self._files.values():
            file.named = True

    def cut(self, chance: random.Random, to: Path) -> None:
        """The power goes: one of the states that the directory may be found in, put into another."""
        for name, file in self._files.items():
            if (file.unlinked or not file.named) and chance.random() < 0.5:
                continue
            content = bytearray(file.content)
            survive = chance.choice([0.0, 0.5, 0.9, 1.0])
            for call in [one for one in file.pending if chance.random() < survive]:
                _apply(content, _torn(call, chance) if chance.random() < 0.2 else call)
            (to / name).write_bytes(content)


def _apply(content: bytearray, call: Call) -> None:
    if call.name == "ftruncate":
        del content[call.at :]
        content.extend(bytes(call.at - len(content)))
        return
    content.extend(bytes(max(0, call.at - len(content))))
    content[call.at : call.at + len(call.data)] = call.data


def _torn(call: Call, chance: random.Random) -> Call:
    """As many of its sectors as came to the disk."""
    sectors = chance.randrange(1 + len(call.data) // SECTOR)
    return call if call.name == "ftruncate" else Call(call.name, call.file, call.data[: sectors * SECTOR], call.at)
