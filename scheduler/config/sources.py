"""The files of a config, joined to one table, and which file each part of it is from."""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from .models import Config
from .section import tables_of

Location: TypeAlias = tuple[int | str, ...]
"""A key path in the joined table: `("pins", 3, "vm")`."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


LISTS_OF_TABLES = frozenset(key for key, (_, many) in tables_of(Config).items() if many)
"""Keys of which the entries of all files count, one after the other; any other key stands in one file."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written: a file, and the key path in it."""

    file: str
    path: str

    def __str__(self) -> str:
        return f"{self.file}: {self.path}"

    def beside(self, other: "Place") -> str:
        """How it is named in a sentence about `other`."""
        return self.path if self.file == other.file else f"{self.path} in {self.file}"


class UnreadableError(Exception):
    """A file that is no TOML; one line that names it."""


class Sources:
    """The table that the files added so far make together. `problems` has what is written twice, a line each."""

    def __init__(self) -> None:
        self.table: dict[str, Any] = {}
        self.problems: list[str] = []
        self._files: dict[Location, str] = {}
        """In which file a key was first seen."""
        self._entries: dict[str, list[tuple[str, int]]] = {}
        """For each list of tables where its entries stand: file and index there."""

    def add(self, file: str, text: str) -> None:
        """Join the TOML of one more file. UnreadableError when it is none."""
        try:
            table = tomllib.loads(text)
        except RecursionError:
            raise UnreadableError(f"{file}: no valid TOML: it is nested too deeply") from None
        except ValueError as error:  # also of numbers and dates that cannot be
            raise UnreadableError(f"{file}: no valid TOML: {error}") from None
        self._files.setdefault((), file)
        self._join(self.table, table, file, ())

    def place(self, location: Location) -> Place:
        """Where a part of the joined table is written; for what is missing, where it would be."""
        match location:
            case (str(key), int(index), *inner) if index < len(self._entries.get(key, ())):
                file, own_index = self._entries[key][index]
                return Place(file, path_of((key, own_index, *inner)))
            case _:
                known = next(location[:end] for end in range(len(location), -1, -1) if location[:end] in self._files)
                return Place(self._files[known], path_of(location))

    def _join(self, into: dict[str, Any], table: Mapping[str, Any], file: str, at: Location) -> None:
        for key, value in table.items():
            here = (*at, key)
            first = self._files.setdefault(here, file)
            if not at and key in LISTS_OF_TABLES and isinstance(value, list) and isinstance(into.get(key, []), list):
                into.setdefault(key, []).extend(value)
                self._entries.setdefault(key, []).extend((file, index) for index in range(len(value)))
            elif key not in into and isinstance(value, dict):
                self._join(into.setdefault(key, {}), value, file, here)
            elif key not in into:
                into[key] = value
            elif isinstance(value, dict) and isinstance(into[key], dict):
                self._join(into[key], value, file, here)
            else:
                self.problems.append(
                    f"{Place(file, path_of(here))}: is also set in {first}, and can be in one file only"
                )


def files_of(main: Path) -> list[Path]:
    """The files in `conf.d` beside the main one, in the order in which they are read. OSError as of reading it."""
    directory = main.parent / "conf.d"
    try:
        found = list(directory.iterdir())
    except FileNotFoundError:
        return []
    return sorted(path for path in found if path.suffix == ".toml" and not path.name.startswith("."))


def path_of(location: Location) -> str:
    """A key path as TOML would write it: `hosts[0].labels."a b"`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part if _BARE_KEY.fullmatch(part) else json.dumps(part)}"
    return path.removeprefix(".")
