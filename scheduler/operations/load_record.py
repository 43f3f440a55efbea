"""The load record: what every VM wanted, minute by minute, kept so that other settings can be tried on it later.

It owns `load.sqlite`, beside the journal and apart from it: losing it costs nothing but the replay. A row holds one
minute of the whole cluster. Once an hour it holds the figures, else what has changed of them since, so that it packs
well. What hosts and VMs are is kept once, in a table of its own, and again when it changes. All calls block.
"""

import sqlite3
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..cluster.codec import dump_snapshot, load_snapshot
from ..cluster.model import Host, HostState, Snapshot, Vm, VmState

NAME: Final = "load.sqlite"
BASE_EVERY_S: Final = 3600.0
_UNKNOWN: Final = -1
_CORES: Final = 100
"""Demand is kept in hundredths of a core."""
_MEMORY: Final = 1 / 16
"""Memory in use, to 16 MiB."""
_DIRTY: Final = 10
"""What is written, in tenths of a MiB/s."""
_HOST_STATES: Final = tuple(HostState)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS facts (id INTEGER PRIMARY KEY, text TEXT NOT NULL, last_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS minutes (at REAL PRIMARY KEY, base REAL NOT NULL, packed BLOB NOT NULL);
"""
IntArray = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Minute:
    """The cluster at one minute: the hosts' states by name, and the active VMs with their place and figures."""

    at: float
    """Unix seconds."""
    hosts: tuple[Host, ...]
    vms: tuple[Vm, ...]


class LoadRecorder:
    """Writes the record of one daemon."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids: dict[str, tuple[Host | Vm, int]] = {}
        self._base: tuple[float, IntArray, IntArray] | None = None
        """When, and the columns of VMs and hosts."""

    def add(self, snapshot: Snapshot, keep_seconds: float) -> None:
        """Write one minute and drop what is too old; sqlite3.Error when the file cannot be written.

        A file that is damaged is put aside, and the next call begins anew.
        """
        try:
            with closing(sqlite3.connect(self._path, timeout=5.0)) as connection, connection:
                connection.executescript(_SCHEMA)
                self._add(connection, snapshot, keep_seconds)
        except sqlite3.Error as error:
            self._ids, self._base = {}, None
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                self._path.replace(self._path.with_suffix(".damaged"))
            raise

    def _add(self, connection: sqlite3.Connection, snapshot: Snapshot, keep_seconds: float) -> None:
        at = snapshot.taken_at.timestamp()
        ids = {host.name: self._id(connection, at, f"host {host.name}", _bare_host(host)) for host in snapshot.hosts}
        hosts = np.array([(ids[host.name], _HOST_STATES.index(host.state)) for host in snapshot.hosts], dtype=np.int32)
        vms = np.array(
            [
                (self._id(connection, at, vm.uuid, _bare_vm(vm)), ids[vm.host], *_figures(vm))
                for vm in snapshot.vms
                if vm.active and vm.host is not None
            ],
            dtype=np.int32,
        )
        columns = _sorted(vms.reshape(-1, 6)), _sorted(hosts.reshape(-1, 2))
        if self._base is None or not 0 <= at - self._base[0] < BASE_EVERY_S:
            self._base = at, *columns
            packed = _pack(*columns)
            used = [(at, int(row)) for row in (*columns[0][0], *columns[1][0])]
            connection.executemany("UPDATE facts SET last_at = ? WHERE id = ?", used)
            connection.execute("DELETE FROM minutes WHERE base < ?", [at - keep_seconds])
            connection.execute("DELETE FROM facts WHERE last_at < ?", [at - keep_seconds - BASE_EVERY_S])
        else:
            packed = _pack(*(_difference(now, base) for now, base in zip(columns, self._base[1:], strict=True)))
        connection.execute("INSERT OR REPLACE INTO minutes VALUES (?, ?, ?)", [at, self._base[0], packed])

    def _id(self, connection: sqlite3.Connection, at: float, key: str, facts: Host | Vm) -> int:
        known = self._ids.get(key)
        if known is None or known[0] != facts:
            text = dump_snapshot(_alone(facts))
            row = connection.execute("INSERT INTO facts (text, last_at) VALUES (?, ?)", [text, at]).lastrowid
            known = self._ids[key] = facts, int(row or 0)
        return known[1]


def read_minutes(path: Path, since: float) -> Iterator[Minute]:
    """What was recorded from `since` (Unix seconds) on, in order of time.

    Raises OSError or sqlite3.Error when the file cannot be read, ValueError when it does not hold together.
    """
    if not path.exists():
        raise FileNotFoundError(2, "No such file, nothing has been recorded", str(path))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as connection:
        rows = connection.execute("SELECT id, text FROM facts")
        # A damaged row may hold anything, even NULL.
        facts = {row: load_snapshot(str(text), str(path)) for row, text in rows}
        oldest = since - BASE_EVERY_S
        rows = connection.execute("SELECT at, base, packed FROM minutes WHERE at >= ? ORDER BY at", [oldest])
        base: tuple[float, IntArray, IntArray] | None = None
        for at, base_at, packed in rows:
            vms, hosts = _unpack(packed)
            if at == base_at:
                base = at, vms, hosts
            elif base is None or base[0] != base_at:
                continue  # it is told by what is no longer there
            else:
                vms, hosts = _restored(vms, base[1]), _restored(hosts, base[2])
            if at >= since:
                yield _minute(at, vms, hosts, facts)


def _minute(at: float, vms: IntArray, hosts: IntArray, facts: dict[int, Snapshot]) -> Minute:
    known = {row: replace(facts[row].hosts[0], state=_HOST_STATES[state]) for row, state in hosts.T.tolist()}
    return Minute(
        at,
        tuple(known.values()),
        tuple(
            replace(
                facts[row].vms[0],
                host=known[host].name,
                state=VmState.PAUSED if paused else VmState.RUNNING,
                cpu_demand_cores=_known(demand, _CORES),
                memory_used_mib=_known(used, _MEMORY),
                dirty_mib_per_s=_known(dirty, _DIRTY),
            )
            for row, host, paused, demand, used, dirty in vms.T.tolist()
        ),
    )


def _bare_vm(vm: Vm) -> Vm:
    """What is a fact about it, and not its load, its place or the daemon's doing."""
    return replace(
        vm,
        host=None,
        destination=None,
        state=VmState.STOPPED,
        cpu_demand_cores=None,
        cpu_demand_high_cores=None,
        cpu_wait_ratio=None,
        memory_used_mib=None,
        dirty_mib_per_s=None,
        cpu_missing_on={},
        hold=None,
        not_to={},
        quarantine=None,
        defined_on=(),
        migration_overrun_factor=None,
    )


def _bare_host(host: Host) -> Host:
    return replace(
        host,
        state=HostState.UP,
        cpu_used_cores=None,
        stale=False,
        contended_seconds=None,
        expected_contended_seconds=None,
        migration_overrun_factor=None,
    )


def _alone(facts: Host | Vm) -> Snapshot:
    hosts, vms = ((facts,), ()) if isinstance(facts, Host) else ((), (facts,))
    return Snapshot(taken_at=datetime.fromtimestamp(0, UTC), hosts=hosts, vms=vms)


def _figures(vm: Vm) -> tuple[int, int, int, int]:
    return (
        int(vm.state is VmState.PAUSED),
        _kept(vm.cpu_demand_cores, _CORES),
        _kept(vm.memory_used_mib, _MEMORY),
        _kept(vm.dirty_mib_per_s, _DIRTY),
    )


def _kept(value: float | None, units: float) -> int:
    return _UNKNOWN if value is None else min(round(value * units), 2**30)


def _known(kept: int, units: float) -> float | None:
    return None if kept == _UNKNOWN else kept / units


def _sorted(rows: IntArray) -> IntArray:
    """As columns, by id."""
    return rows[np.argsort(rows[:, 0])].T


def _difference(now: IntArray, base: IntArray) -> IntArray:
    """`now` with what `base` says of the same ids taken off."""
    return _with_base(now, base, -1)


def _restored(difference: IntArray, base: IntArray) -> IntArray:
    return _with_base(difference, base, 1)


def _with_base(columns: IntArray, base: IntArray, sign: int) -> IntArray:
    found = columns.copy()
    _, here, there = np.intersect1d(columns[0], base[0], assume_unique=True, return_indices=True)
    found[1:, here] += sign * base[1:, there]
    return found


def _pack(vms: IntArray, hosts: IntArray) -> bytes:
    """Ids as steps from one to the next, numbers near 0 as small ones, and bytes of the same weight side by side."""
    planes = b"".join(_planes(columns) for columns in (vms, hosts))
    return struct.pack("<II", vms.shape[1], hosts.shape[1]) + zlib.compress(planes, 6)


def _planes(columns: IntArray) -> bytes:
    steps = columns.copy()
    steps[0] = np.diff(columns[0], prepend=0)
    zigzag = ((steps << 1) ^ (steps >> 31)).astype("<u4")
    return np.ascontiguousarray(zigzag).view(np.uint8).reshape(-1, 4).T.tobytes()


def _unpack(packed: bytes) -> tuple[IntArray, IntArray]:
    vms, hosts = struct.unpack_from("<II", packed)
    raw = np.frombuffer(zlib.decompress(packed[8:]), dtype=np.uint8)
    parts = raw[: vms * 24], raw[vms * 24 :]
    return _columns(parts[0], 6, vms), _columns(parts[1], 2, hosts)


def _columns(planes: NDArray[np.uint8], columns: int, rows: int) -> IntArray:
    zigzag = np.ascontiguousarray(planes.reshape(4, -1).T).view("<u4").reshape(columns, rows)
    found: IntArray = (zigzag >> 1).astype(np.int32) ^ -(zigzag & 1).astype(np.int32)
    found[0] = np.cumsum(found[0])
    return found
