"""What is well written but cannot be meant: mistakes that only the whole config shows."""

from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import combinations
from urllib.parse import urlsplit

from ..cluster.rules import Strength
from .models import Config


def contradictions(config: Config) -> list[str]:
    """Every contradiction, `KEY PATH: what is wrong`; empty when there is none."""
    checks = (
        _doubled_hosts,
        _unreachable_peers,
        _unknown_pinned_hosts,
        _disjoint_pins,
        _too_large_groups,
        _crowds,
        _cooldown,
    )
    return [problem for check in checks for problem in check(config)]


def _doubled_hosts(config: Config) -> Iterator[str]:
    for key in ("name", "uri"):
        counts = Counter(getattr(host, key) for host in config.hosts)
        for value, count in counts.items():
            if count > 1:
                places = [f"hosts[{i}]" for i, host in enumerate(config.hosts) if getattr(host, key) == value]
                yield f"{places[-1]}.{key}: {value!r} is also that of {', '.join(places[:-1])}"


def _unreachable_peers(config: Config) -> Iterator[str]:
    """A URI without a machine in it means the host on which it is used: migrations would go to their own source."""
    if len(config.hosts) == 1:
        return
    for index, host in enumerate(config.hosts):
        peer_uri = host.to_address().peer_uri
        parts = urlsplit(peer_uri)
        if not parts.hostname and not parts.query:
            yield (
                f"hosts[{index}].peer_uri: other hosts cannot reach {peer_uri}; "
                f"write how they do, such as qemu+tls://{host.name}/system"
            )


def _unknown_pinned_hosts(config: Config) -> Iterator[str]:
    names = [host.name for host in config.hosts]
    for index, pin in enumerate(config.pins):
        for position, pattern in enumerate(pin.hosts):
            if not any(fnmatchcase(name, pattern) for name in names):
                yield f"pins[{index}].hosts[{position}]: {pattern!r} is no host; allowed: {', '.join(names)}"


def _disjoint_pins(config: Config) -> Iterator[str]:
    must = [(i, pin) for i, pin in enumerate(config.pins) if pin.strength is Strength.MUST]
    names = [host.name for host in config.hosts]
    for (first, one), (second, other) in combinations(must, 2):
        common = (n for n in names if all(any(fnmatchcase(n, p) for p in pin.hosts) for pin in (one, other)))
        if one.vm == other.vm and next(common, None) is None:
            yield f"pins[{second}].hosts: pins[{first}] says {other.vm!r} must be elsewhere: no host is in both"


def _too_large_groups(config: Config) -> Iterator[str]:
    """Only names count: what a glob or a tag means is not known here."""
    for index, rule in enumerate(config.anti_affinity):
        names = {vm for vm in rule.vms if not vm.startswith("tag:") and not set(vm) & set("*?[")}
        domains = {host.labels.get(rule.spread_over, f"host {host.name}") for host in config.hosts}
        room = rule.max_per_host * len(domains)
        if rule.strength is Strength.MUST and len(names) > room and not rule.against:
            yield f"anti_affinity[{index}].vms: {len(names)} VMs must keep apart, the hosts take only {room} of them"


def _crowds(config: Config) -> Iterator[str]:
    for index, rule in enumerate(config.anti_affinity):
        if rule.against and rule.max_per_host != 1:
            yield f"anti_affinity[{index}].max_per_host: says nothing beside against, where none may meet; leave it out"


def _cooldown(config: Config) -> Iterator[str]:
    if config.limits.cooldown_seconds > config.limits.max_cooldown_seconds:
        yield "limits.max_cooldown: must not be shorter than limits.cooldown"
