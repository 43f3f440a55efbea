"""What differs between two configs, and which of it takes effect only after a restart."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from .models import Config
from .section import tables_of

RESTART_KEYS = frozenset(
    {
        "api.socket",
        "api.socket_mode",
        "api.tls.listen",
        "api.tls.certificate",
        "api.tls.key",
        "api.tls.client_ca",
        "metrics.listen",
        "shared_directories",
        "state_directory",
    }
)
"""Taken in once, at the start."""
_ENTRIES: Final = tuple(key for key, (_, many) in tables_of(Config).items() if many and key != "hosts")
_FIRST_COUNTS: Final = frozenset({"priorities", "modes"})
"""Lists of which the first entry that means a VM counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The way from one config to another. Hosts are named; a changed host has a new address (it is reconnected)."""

    lines: tuple[str, ...]
    """`host NAME added` or `removed`, `pins added: ENTRY` and the like, then `key: old -> new` of all else."""
    hosts_added: tuple[str, ...] = ()
    hosts_removed: tuple[str, ...] = ()
    hosts_changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    """The changed keys that the running daemon cannot take in."""

    def __str__(self) -> str:
        text = "; ".join(self.lines) or "nothing changed"
        return f"{text} (after a restart: {', '.join(self.needs_restart)})" if self.needs_restart else text


def differences(old: Config, new: Config) -> Changes:
    """What changed from `old` to `new`."""
    old_hosts = {address.name: address for address in old.to_host_addresses()}
    new_hosts = {address.name: address for address in new.to_host_addresses()}
    added = tuple(name for name in new_hosts if name not in old_hosts)
    removed = tuple(name for name in old_hosts if name not in new_hosts)
    before, after = _flat(old, besides=removed), _flat(new, besides=added)
    changed = [key for key in (before | after) if before.get(key, "none") != after.get(key, "none")]
    return Changes(
        lines=(
            *(f"host {name} added: {new_hosts[name].uri}" for name in added),
            *(f"host {name} removed" for name in removed),
            *(line for key in _ENTRIES for line in _entries_changed(key, old, new)),
            *(f"{key}: {before.get(key, 'none')} -> {after.get(key, 'none')}" for key in changed),
        ),
        hosts_added=added,
        hosts_removed=removed,
        hosts_changed=tuple(n for n, address in new_hosts.items() if n in old_hosts and old_hosts[n] != address),
        needs_restart=tuple(key for key in changed if key in RESTART_KEYS),
    )


def _flat(config: Config, *, besides: Collection[str]) -> dict[str, str]:
    """Every value of the config by its key path, without the hosts `besides`."""
    written = {key: value for key, value in config.written().items() if key not in _ENTRIES}
    hosts = written.pop("hosts")
    assert isinstance(hosts, list)  # noqa: S101 - the model says so
    named = {
        f"hosts[{host['name']}]": {k: v for k, v in host.items() if k != "name"}
        for host in hosts
        if host["name"] not in besides
    }
    return dict(_leaves("", written | named))


def _entries_changed(key: str, old: Config, new: Config) -> Iterator[str]:
    """Entries come and go as a whole: by their number, all would have changed when the first one goes."""
    before, after = _entries(key, old), _entries(key, new)
    gone, come = Counter(before) - Counter(after), Counter(after) - Counter(before)
    yield from (f"{key} removed: {entry}" for entry in gone.elements())
    yield from (f"{key} added: {entry}" for entry in come.elements())
    if key in _FIRST_COUNTS and not (gone or come) and before != after:
        yield f"{key}: in another order"


def _entries(key: str, config: Config) -> list[str]:
    """Each entry as an inline table of TOML, without what it leaves at the default."""
    tables: Iterable[BaseModel] = getattr(config, key)
    dumped = (table.model_dump(mode="json", by_alias=True, exclude_defaults=True) for table in tables)
    return [
        "{ " + ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in entry.items()) + " }"
        for entry in dumped
    ]


def _leaves(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    """Every value with its key path; tables are descended into."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list):
        yield prefix, ", ".join(str(inner) for inner in value) or "none"
    else:
        yield prefix, str(value) if value != "" else '""'
