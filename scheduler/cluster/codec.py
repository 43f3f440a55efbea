"""A snapshot as JSON: the file format that `snapshot`, `plan`, `place` and `apply` share, read strictly.

Whatever cannot be a cluster is refused with the JSON path of the first mistake, what is wrong and what is allowed.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import Any, Final, TypeVar, cast, get_type_hints

from . import reading
from .model import Host, HostState, Link, Snapshot, Vm
from .rules import PRIORITY_WEIGHTS, AntiAffinity, Priority, Rules
from .settings import MigrationMeans, PlannerSettings

_T = TypeVar("_T")
_Numbered = Host | Vm | Link | AntiAffinity | Priority | PlannerSettings | MigrationMeans

_MOST: Final = 10**12
"""No figure of a cluster is larger, in any unit; sums of such still fit 64 bits."""
_AT_LEAST_ONE: Final = frozenset(
    {"cpus", "memory_mib", "vcpus", "max_per_host", "version", "max_inbound", "max_outbound", "bandwidth_mib_per_s"}
)


class SnapshotError(ValueError):
    """A snapshot or VM that cannot be used; one line: origin, JSON path, what is wrong, what is allowed."""

    def __init__(self, origin: str, path: str, text: str) -> None:
        super().__init__(": ".join(part for part in (origin, path, text) if part))
        self.origin = origin
        self.path = path


def load_snapshot(text: str | bytes, origin: str) -> Snapshot:
    """Read a snapshot; `origin` (a file's name) starts the message of a SnapshotError."""
    data = _parse(text, origin)
    for vm in _members(data, "vms"):
        _name_as_uuid(vm)
    snapshot = _read(Snapshot, data, origin)
    for path, problem in _problems(snapshot):
        raise SnapshotError(origin, path, problem)
    return snapshot


def load_vm(text: str | bytes, origin: str) -> Vm:
    """Read one VM that is to be placed."""
    return _load_vm(_parse(text, origin), origin, "")


def load_vms(text: str | bytes, origin: str) -> tuple[Vm, ...]:
    """Read one VM or a list of VMs that are to be placed."""
    data = _parse(text, origin)
    if not isinstance(data, list):
        return (_load_vm(data, origin, ""),)
    return tuple(_load_vm(vm, origin, f"[{place}]") for place, vm in enumerate(data))


def dump_snapshot(snapshot: Snapshot) -> str:
    """The JSON of a snapshot: the same snapshot always gives the same text; unknown (None) fields are left out."""
    return json.dumps(_plain(snapshot), indent=1, ensure_ascii=False) + "\n"


def snapshot_schema() -> dict[str, Any]:
    """The JSON Schema of a snapshot."""
    from . import refusing

    schema = refusing.schema(Snapshot)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    vm = schema["$defs"]["Vm"]
    vm["required"] = [name for name in vm["required"] if name != "uuid"]
    vm["properties"]["uuid"]["description"] = "Absent: the name is taken."
    return schema


def _load_vm(data: Any, origin: str, path: str) -> Vm:
    _name_as_uuid(data)
    vm = _read(Vm, data, origin, path)
    for inner, problem in _number_problems(vm, path):
        raise SnapshotError(origin, inner, problem)
    return vm


def _parse(text: str | bytes, origin: str) -> Any:
    try:
        return reading.parse(text)
    except reading.Doubtful:
        from . import refusing

        try:
            return refusing.parse(text)
        except refusing.Mistake as mistake:
            raise SnapshotError(origin, mistake.path, mistake.text) from None


def _read(kind: type[_T], data: Any, origin: str, path: str = "") -> _T:
    try:
        return reading.read(kind, data)
    except reading.Doubtful:
        from . import refusing

        try:
            return refusing.read(kind, data, path)
        except refusing.Mistake as mistake:
            raise SnapshotError(origin, mistake.path, mistake.text) from None


def _members(data: Any, key: str) -> list[Any]:
    members = data.get(key) if isinstance(data, dict) else None
    return members if isinstance(members, list) else []


def _name_as_uuid(vm: Any) -> None:
    if isinstance(vm, dict) and "name" in vm:
        vm.setdefault("uuid", vm["name"])


def _problems(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """What types alone do not show, as (JSON path, problem)."""
    if snapshot.version != 1:
        yield "version", f"is {snapshot.version}, only 1 is known"
    if snapshot.taken_at.tzinfo is None:
        yield "taken_at", "has no time zone, end it with Z or an offset"
    yield from _duplicates("hosts", "name", [host.name for host in snapshot.hosts])
    yield from _duplicates("vms", "uuid", [vm.uuid for vm in snapshot.vms])
    known = {host.name for host in snapshot.hosts}
    for place, host in enumerate(snapshot.hosts):
        if not _never_seen(host):
            yield from _number_problems(host, f"hosts[{place}]")
        if host.reserved_memory_mib > host.memory_mib:
            yield f"hosts[{place}].reserved_memory_mib", f"is more than the {host.memory_mib} of memory_mib"
    for place, vm in enumerate(snapshot.vms):
        yield from _number_problems(vm, f"vms[{place}]")
        for key, host_name in (("host", vm.host), ("destination", vm.destination)):
            if host_name is not None and host_name not in known:
                yield f"vms[{place}].{key}", f"{host_name!r} is not among the hosts"
        if vm.active and vm.host is None:
            yield f"vms[{place}].host", f"is missing, and a {vm.state.value} VM is on a host"
    yield from _link_problems(snapshot.links, known)
    yield from _rule_problems(snapshot.rules)
    yield from _drain_problems(snapshot.drain or (), known)
    yield from _settings_problems(snapshot.settings or PlannerSettings())


def _link_problems(links: Sequence[Link], hosts: Collection[str]) -> Iterator[tuple[str, str]]:
    yield from _duplicates("links", "destination", [f"{link.source} to {link.destination}" for link in links])
    for place, link in enumerate(links):
        path = f"links[{place}]"
        yield from _number_problems(link, path)
        for key, name in (("source", link.source), ("destination", link.destination)):
            if name not in hosts:
                yield f"{path}.{key}", f"{name!r} is not among the hosts"


def _never_seen(host: Host) -> bool:
    """Whether it is one that the daemon has not reached yet: of that it knows neither CPUs nor memory."""
    return host.state is HostState.UNREACHABLE and host.cpus == host.memory_mib == 0


def _rule_problems(rules: Rules) -> Iterator[tuple[str, str]]:
    for place, rule in enumerate(rules.anti_affinity):
        path = f"rules.anti_affinity[{place}]"
        yield from _number_problems(rule, path)
        if rule.against and rule.max_per_host != 1:
            yield (
                f"{path}.max_per_host",
                f"is {rule.max_per_host}, allowed beside against is 1: none may meet the other",
            )
    for place, priority in enumerate(rules.priorities):
        yield from _number_problems(priority, f"rules.priorities[{place}]")


def _drain_problems(drain: Sequence[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    for place, name in enumerate(drain):
        if name not in known:
            yield f"drain[{place}]", f"{name!r} is not among the hosts"


def _settings_problems(settings: PlannerSettings) -> Iterator[tuple[str, str]]:
    yield from _number_problems(settings, "settings")
    yield from _number_problems(settings.migration, "settings.migration")
    for place, kind in enumerate(settings.migration_classes):
        yield from _number_problems(kind.means, f"settings.migration_classes[{place}].means")
    known = PlannerSettings().weights
    for name, weight in settings.weights.items():
        if name not in known:
            yield f"settings.weights.{name}", f"is unknown, allowed are {', '.join(known)}"
        elif not 0 <= weight <= _MOST:
            yield f"settings.weights.{name}", f"is {weight}, allowed is 0 or more"
    if missing := [name for name in known if name not in settings.weights]:
        yield "settings.weights", f"lacks {', '.join(missing)}"


def _duplicates(owner: str, key: str, values: list[str]) -> Iterator[tuple[str, str]]:
    first: dict[str, int] = {}
    for place, value in enumerate(values):
        if first.setdefault(value, place) != place:
            yield f"{owner}[{place}].{key}", f"{value!r} is that of {owner}[{first[value]}] too, and must be its own"


def _number_problems(item: _Numbered, path: str) -> Iterator[tuple[str, str]]:
    for name, least, most in _numbers(cast("Any", type(item))):
        value = getattr(item, name)
        if value is not None and not least <= value <= most:
            where = f"{path}.{name}" if path else name
            shown = f"{value}" if value <= _MOST**2 else "far more"
            yield (
                where,
                f"is {shown}, allowed is {least} {'or more' if value < least and most == _MOST else f'to {most:,}'}",
            )


@cache
def _numbers(kind: Any) -> list[tuple[str, int, int]]:
    """The fields of a kind that are numbers, with what they are at least and at most."""
    hints = get_type_hints(kind)
    return [(name, *_bounds(name)) for name, hint in hints.items() if hint in (int, float, int | None, float | None)]


def _bounds(field: str) -> tuple[int, int]:
    """What a number in `field` is at least and at most."""
    if field == "priority":
        return min(PRIORITY_WEIGHTS), max(PRIORITY_WEIGHTS)
    return 1 if field in _AT_LEAST_ONE else 0, 1 if field.endswith("_ratio") else _MOST


def _plain(value: Any) -> Any:
    """`value` as JSON types, sets sorted, None left out of objects."""
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: _plain(inner) for name, inner in pairs if inner is not None}
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, frozenset | tuple):
        return [_plain(inner) for inner in (sorted(value) if isinstance(value, frozenset) else value)]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.value if isinstance(value, Enum) else value
