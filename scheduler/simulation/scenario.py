"""A scenario: a folder with a cluster, a config, a script of what happens, and the log that must come of it.

`cluster.json` is a snapshot, `config.toml` (may be absent) a daemon's config, `script.toml` the script, `expected.log`
(may be absent) what a run must print. VMs that the script starts stand in the snapshot as stopped ones,
on the host that defines them.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final
from uuid import NAMESPACE_OID, uuid5

from pydantic import Field, ValidationError

from ..cluster.codec import SnapshotError, load_snapshot
from ..cluster.model import Snapshot
from ..cluster.observation import EventKind
from ..config.quantities import Duration
from ..config.section import Section
from .load import MOST, MOST_OTHERWISE, LoadError, LoadTable, Wanted
from .meter import Figures
from .scene import Scene
from .script import Deed, Happening

SCRIPT = "script.toml"
EXPECTED = "expected.log"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OF_VMS = frozenset({Deed.START, Deed.STOP})


class Entry(Section):
    """What happens at one time: one deed or more, each with the VM or host that it is done to."""

    time_seconds: Duration
    load: dict[str, Annotated[float, Field(ge=0, le=MOST_OTHERWISE)]] = Field(default_factory=dict)
    """VMs and the cores that they want from then on."""
    start: str = ""
    host: str = ""
    """Where a person starts it; without it the policy chooses."""
    stop: str = ""
    crash: str = ""
    lose: str = ""
    return_: Annotated[str, Field(alias="return")] = ""
    cordon: str = ""
    drain: str = ""
    uncordon: str = ""
    break_: Annotated[str, Field(alias="break")] = ""
    mend: str = ""

    def deeds(self) -> Iterator[tuple[Deed, str]]:
        """Each with its subject, as written."""
        for deed in Deed:
            if subject := getattr(self, deed.value, None) or getattr(self, f"{deed.value}_", None):
                yield deed, subject


class ScriptFile(Section):
    """The whole file."""

    end_seconds: Annotated[Duration, Field(gt=0, le=MOST["time_s"])]
    seed: int = 0
    failing: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Part of the migrations that break off by chance."""
    at: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a folder holds, its config apart."""

    snapshot: Snapshot
    load: LoadTable
    happenings: tuple[Happening, ...]
    seed: int
    failing: float
    expected: str
    """Empty: there is none."""


def read_scenario(folder: Path) -> Scenario:
    """Read it; LoadError or SnapshotError, one line that names the place, when it cannot be used."""
    cluster, path, expected = folder / "cluster.json", folder / SCRIPT, folder / EXPECTED
    try:
        log = expected.read_text(encoding="utf-8") if expected.exists() else ""
        snapshot = _with_uuids(load_snapshot(cluster.read_bytes(), str(cluster)))
        script = ScriptFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise LoadError(f"{error.filename}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise LoadError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except SnapshotError:
        raise
    except RecursionError:
        raise LoadError(f"{path}: is no TOML: it is nested too deeply") from None
    except ValueError as error:  # also of numbers and dates that cannot be
        raise LoadError(f"{path}: is no TOML: {error}") from None
    uuids = {name: vm.uuid for vm in snapshot.vms if vm.host is not None for name in (vm.uuid, vm.name)}
    hosts = {host.name: host.name for host in snapshot.hosts}
    happenings: list[Happening] = []
    changes: list[tuple[float, tuple[Wanted, ...]]] = []
    for place, entry in enumerate(script.at):
        where = f"{path}: at[{place}]"
        for deed, subject in entry.deeds():
            known = _known(f"{where}.{deed}", subject, uuids if deed in OF_VMS else hosts)
            host = _known(f"{where}.host", entry.host, hosts) if entry.host else None
            happenings.append(Happening(entry.time_seconds, deed, known, host))
        wanted = ((_known(f"{where}.load", vm, uuids), cores, None, None) for vm, cores in entry.load.items())
        if entry.load:
            changes.append((entry.time_seconds, tuple(wanted)))
    load = LoadTable(tuple(sorted(changes, key=lambda change: change[0])), script.end_seconds)
    return Scenario(snapshot, load, tuple(happenings), script.seed, script.failing, log)


def _with_uuids(snapshot: Snapshot) -> Snapshot:
    """A snapshot written by hand may call VMs by their names only; definitions need more."""
    vms = (
        vm if _UUID.fullmatch(vm.uuid) else replace(vm, uuid=str(uuid5(NAMESPACE_OID, vm.uuid))) for vm in snapshot.vms
    )
    return replace(snapshot, vms=tuple(vms))


def log_of(scene: Scene, scenario: Scenario, figures: Figures) -> str:
    """What happened, a line each, in order of time; the same run gives the same text."""
    names = {vm.uuid: vm.name for vm in scene.snapshot.vms}
    asked = [
        (one.time_s, f"script: {one.deed} {names.get(one.subject, one.subject)}{f' on {one.host}' if one.host else ''}")
        for one in scenario.happenings
    ]
    asked += [
        (time_s, f"script: {', '.join(f'{names[wish[0]]} wants {wish[1]:g} cores' for wish in wanted)}")
        for time_s, wanted in scenario.load.changes
    ]
    lines = sorted(asked + list(_seen(scene, names)), key=lambda line: line[0])
    end = (
        f"end: migrations {figures.migrations}, failed {figures.migrations_failed}, back {figures.reverse_moves}; "
        f"placements refused {figures.placements_refused}; VM-minutes of contention {figures.contention_vm_minutes:.0f}"
    )
    return "".join(f"{_clock(time_s)}  {text}\n" for time_s, text in [*lines, (scenario.load.end_s, end)])


def _seen(scene: Scene, names: dict[str, str]) -> Iterable[tuple[float, str]]:
    arrived: dict[str, str] = {}
    for event in scene.cluster.history:
        name, at_s = names.get(event.uuid, ""), event.monotonic_s
        if event.kind is EventKind.MIGRATED_IN:
            arrived[event.uuid] = event.host
        elif event.kind is EventKind.MIGRATED_OUT:
            yield at_s, f"{name} moved from {event.host} to {arrived[event.uuid]}"
        elif event.kind is EventKind.JOB_COMPLETED and event.stats is not None and not event.stats["success"]:
            yield at_s, f"{name} stays on {event.host}: its migration broke off"
        elif event.kind is EventKind.STARTED and at_s > 0:
            yield at_s, f"{name} started on {event.host}"
        elif event.kind is EventKind.CRASHED:
            yield at_s, f"{name} is gone with {event.host}"


def _known(where: str, name: str, known: dict[str, str]) -> str:
    if name not in known:
        raise LoadError(
            f"{where}: {name!r} is unknown, or a VM without a host, allowed are {', '.join(sorted(known)[:8])}"
        )
    return known[name]


def _clock(time_s: float) -> str:
    minutes, seconds = divmod(int(time_s), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
