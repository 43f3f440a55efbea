"""What differs between two configs, and which of it takes effect only after a restart."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from .models import Config

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The way from one config to another. Hosts are named; a changed host has a new address (it is reconnected)."""

    lines: tuple[str, ...]
    """`host NAME added` or `removed`, then `key: old -> new`, one for each difference of what both have."""
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
            *(f"{key}: {before.get(key, 'none')} -> {after.get(key, 'none')}" for key in changed),
        ),
        hosts_added=added,
        hosts_removed=removed,
        hosts_changed=tuple(n for n, address in new_hosts.items() if n in old_hosts and old_hosts[n] != address),
        needs_restart=tuple(key for key in changed if key in RESTART_KEYS),
    )


def _flat(config: Config, *, besides: Collection[str]) -> dict[str, str]:
    """Every value of the config by its key path, without the hosts `besides`."""
    written = config.written()
    hosts = written.pop("hosts")
    assert isinstance(hosts, list)  # noqa: S101 - the model says so
    named = {
        f"hosts[{host['name']}]": {k: v for k, v in host.items() if k != "name"}
        for host in hosts
        if host["name"] not in besides
    }
    return dict(_leaves("", written | named))


def _leaves(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    """Every value with its key path; tables and lists of tables are descended into."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for index, inner in enumerate(value):
            yield from _leaves(f"{prefix}[{index}]", inner)
    elif isinstance(value, list):
        yield prefix, ", ".join(str(inner) for inner in value) or "none"
    else:
        yield prefix, str(value) if value != "" else '""'
