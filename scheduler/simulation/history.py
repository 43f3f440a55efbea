"""A daemon's record of load made into a cluster and a script, so that other settings can be tried on what was."""

import sqlite3
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ..cluster.model import Host, HostState, Snapshot, VmState
from ..operations.load_record import Minute, read_minutes
from .load import LoadError, LoadTable, Wanted, table_of
from .meter import Figures
from .script import Deed, Happening

GAP_S: Final = 300.0
"""Longer without a record is left out of the replay: nobody knows what happened then."""
MINUTE_S: Final = 60.0
_DEEDS: Final = {
    HostState.UP: {HostState.MAINTENANCE: Deed.CORDON, HostState.UNREACHABLE: Deed.LOSE},
    HostState.MAINTENANCE: {HostState.UP: Deed.UNCORDON, HostState.UNREACHABLE: Deed.LOSE},
    HostState.UNREACHABLE: {HostState.UP: Deed.RETURN, HostState.MAINTENANCE: Deed.RETURN},
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """The cluster at the beginning, with VMs that come later as stopped ones, and what happened to it."""

    snapshot: Snapshot
    load: LoadTable
    happenings: tuple[Happening, ...]


def read_history(path: Path, since: float) -> Recorded:
    """What was recorded from `since` (Unix seconds) on; LoadError, one line, when there is nothing to replay."""
    try:
        minutes = list(read_minutes(path, since))
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from None
    except (sqlite3.Error, zlib.error, struct.error, ArithmeticError, TypeError, ValueError, LookupError) as error:
        raise LoadError(f"{path}: is no record of load: {error}") from None
    if len(minutes) < 2:
        raise LoadError(f"{path}: has {len(minutes)} minutes of that time, allowed are 2 or more")
    timed = list(_timed(minutes))
    first = {vm.uuid: vm for minute in reversed(minutes) for vm in minute.vms}
    at_begin = {vm.uuid for vm in minutes[0].vms}
    vms = (vm if uuid in at_begin else replace(vm, state=VmState.STOPPED) for uuid, vm in sorted(first.items()))
    hosts = {host.name: host for minute in reversed(minutes) for host in minute.hosts if host.cpus}
    begin = {host.name: host.state for host in minutes[0].hosts}
    # Absent at first: it joins, so nothing may move to it until then.
    known = (replace(host, state=begin.get(name, HostState.UNREACHABLE)) for name, host in sorted(hosts.items()))
    snapshot = Snapshot(taken_at=datetime.fromtimestamp(minutes[0].at, UTC), hosts=tuple(known), vms=tuple(vms))
    load = replace(table_of(_wanted(timed)), end_s=timed[-1][0] + MINUTE_S)
    return Recorded(snapshot, load, tuple(_happenings(timed, hosts)))


def sentence(days: float, own: Figures, nobody: Figures) -> str:
    """What the settings would have done in that time, against doing nothing."""
    span = f"{days:.3g} days" if days >= 2 else f"{days * 24:.3g} hours"
    moves = f"{own.migrations} move{'' if own.migrations == 1 else 's'}"
    before, after = nobody.contention_vm_minutes, own.contention_vm_minutes
    word = "prevented" if before >= after else "added"
    return (
        f"the last {span} with these settings: {moves}, {abs(before - after):,.0f} VM-minutes of contention {word}"
        f" ({before:,.0f} without, {after:,.0f} with them)"
    )


def _timed(minutes: list[Minute]) -> Iterator[tuple[float, Minute]]:
    """With seconds from the beginning, gaps left out."""
    now_s = 0.0
    for place, minute in enumerate(minutes):
        if place:
            step_s = minute.at - minutes[place - 1].at
            now_s += step_s if step_s <= GAP_S else MINUTE_S
        yield now_s, minute


def _wanted(timed: list[tuple[float, Minute]]) -> Iterator[tuple[float, Wanted]]:
    """What has changed; of what is not known the last that was."""
    told: dict[str, Wanted] = {}
    for time_s, minute in timed:
        for vm in minute.vms:
            known = told.get(vm.uuid, (vm.uuid, 0.0, None, None))
            cores = known[1] if vm.cpu_demand_cores is None else vm.cpu_demand_cores
            now: Wanted = (vm.uuid, cores, vm.memory_used_mib, vm.dirty_mib_per_s)
            if told.get(vm.uuid) != now:
                told[vm.uuid] = now
                yield time_s, now


def _happenings(timed: list[tuple[float, Minute]], hosts: Mapping[str, Host]) -> Iterator[Happening]:
    before = timed[0][1]
    states = dict.fromkeys(hosts, HostState.UNREACHABLE) | {host.name: host.state for host in before.hosts}
    running = {vm.uuid for vm in before.vms}
    for time_s, minute in timed[1:]:
        for host in minute.hosts:
            if host.name in hosts and (deed := _DEEDS[states[host.name]].get(host.state)):
                yield Happening(time_s, deed, host.name)
                states[host.name] = host.state
        now = {vm.uuid: vm for vm in minute.vms}
        for uuid in sorted(running - now.keys()):
            yield Happening(time_s, Deed.STOP, uuid)
        for uuid in sorted(now.keys() - running):
            yield Happening(time_s, Deed.START, uuid, now[uuid].host)
        running = set(now)
