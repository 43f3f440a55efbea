"""The load table: what each VM wants over time, read from CSV or Parquet; a mistake names its line and column."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final, TextIO

REQUIRED: Final = ("time_s", "vm", "cpu_demand_cores")
OPTIONAL: Final = ("memory_used_mib", "dirty_mib_per_s")
MOST: Final = {"time_s": 366 * 86_400.0}
"""What a column holds at most: a replay takes the longer the later its last time is."""
MOST_OTHERWISE: Final = 1e12
DEFAULT_STEP_S: Final = 60.0
"""How long the only time of a table lasts."""

Wanted = tuple[str, float, float | None, float | None]
"""UUID, cores, memory in use (MiB) and dirty rate (MiB/s); None: as before."""


class LoadError(Exception):
    """A table that cannot be used; the text names the place and what is allowed there."""


@dataclass(frozen=True, slots=True)
class LoadTable:
    """What changes when, in order of time, and when it ends. A value holds until the VM's next row."""

    changes: tuple[tuple[float, tuple[Wanted, ...]], ...]
    end_s: float
    """One step after the last time: as far from it as that is from the one before."""


def read_load(path: Path, uuids: Mapping[str, str]) -> LoadTable:
    """Read CSV, or Parquet by its name. `uuids` has the UUID of every name and UUID that the column `vm` may hold."""
    if path.suffix.lower() in {".parquet", ".pq"}:
        return _parquet(path, uuids)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _table(path, file, uuids)
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise LoadError(f"{path}: is not UTF-8 text (byte {error.start}), allowed is CSV") from None


def table_of(rows: Iterable[tuple[float, Wanted]]) -> LoadTable:
    """The table of rows in any order, at least one."""
    by_time: dict[float, list[Wanted]] = defaultdict(list)
    for time_s, wanted in rows:
        by_time[time_s].append(wanted)
    times = sorted(by_time)
    step_s = times[-1] - times[-2] if len(times) > 1 else DEFAULT_STEP_S
    return LoadTable(tuple((time_s, tuple(by_time[time_s])) for time_s in times), times[-1] + step_s)


def _table(path: Path, file: TextIO, uuids: Mapping[str, str]) -> LoadTable:
    reader = csv.reader(file)
    try:
        header = next(reader, [])
        columns = _columns(path, header)
        rows = list(_rows(path, reader, columns, len(header), uuids))
    except csv.Error as error:
        raise LoadError(f"{path}: line {reader.line_num}: is no CSV: {error}") from None
    if not rows:
        raise LoadError(f"{path}: has no rows, allowed are one or more below the header")
    return table_of(rows)


def _parquet(path: Path, uuids: Mapping[str, str]) -> LoadTable:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise LoadError(f"{path}: Parquet needs pyarrow: pip install 'virt-scheduler[parquet]', or use CSV") from None
    try:
        columns = parquet.read_table(path).to_pydict()
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror or error}") from None
    except ArrowException as error:
        raise LoadError(f"{path}: is no Parquet: {str(error).splitlines()[0]}") from None
    header = list(columns)
    cells = (["" if cell is None else str(cell) for cell in row] for row in zip(*columns.values(), strict=True))
    rows = list(_rows(path, cells, _columns(path, header), len(header), uuids))
    if not rows:
        raise LoadError(f"{path}: has no rows, allowed are one or more")
    return table_of(rows)


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    allowed = f"allowed are {', '.join(REQUIRED)} and, if known, {', '.join(OPTIONAL)}"
    columns: dict[str, int] = {}
    for place, name in enumerate(map(str.strip, header)):
        if name not in {*REQUIRED, *OPTIONAL} or name in columns:
            wrong = "comes twice" if name in columns else "is no column of a load table"
            raise LoadError(f"{path}: line 1: {name!r} {wrong}, {allowed}")
        columns[name] = place
    if missing := [name for name in REQUIRED if name not in columns]:
        raise LoadError(f"{path}: line 1: {missing[0]} is missing, {allowed}")
    return columns


def _rows(
    path: Path, reader: Iterator[list[str]], columns: Mapping[str, int], width: int, uuids: Mapping[str, str]
) -> Iterator[tuple[float, Wanted]]:
    seen: set[tuple[float, str]] = set()
    for line, cells in enumerate(reader, start=2):
        if not cells:
            continue
        where = f"{path}: line {line}"
        if len(cells) != width:
            raise LoadError(f"{where}: has {len(cells)} columns, allowed are the {width} of the header")
        name = cells[columns["vm"]].strip()
        if (uuid := uuids.get(name)) is None:
            raise LoadError(f"{where}: vm: {name!r} is not one running VM of the snapshot, allowed are {_some(uuids)}")
        time_s, cores = (_number(where, column, cells[columns[column]]) for column in ("time_s", "cpu_demand_cores"))
        if (time_s, uuid) in seen:
            raise LoadError(f"{where}: vm: {name!r} has a row for {time_s:g} s already, allowed is one a time")
        seen.add((time_s, uuid))
        memory_mib, dirty = (_optional(where, column, cells, columns) for column in OPTIONAL)
        yield time_s, (uuid, cores, memory_mib, dirty)


def _optional(where: str, column: str, cells: Sequence[str], columns: Mapping[str, int]) -> float | None:
    text = cells[columns[column]].strip() if column in columns else ""
    return _number(where, column, text) if text else None


def _number(where: str, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -inf
    most = MOST.get(column, MOST_OTHERWISE)
    if not 0 <= value <= most:  # nor is it NaN
        raise LoadError(f"{where}: {column}: {_short(text)} is no number from 0 to {most:,.0f}")
    return value


def _short(text: str) -> str:
    return repr(text) if len(text) <= 40 else f"{text[:37]!r}..."


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
