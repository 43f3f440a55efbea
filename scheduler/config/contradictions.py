"""What is well written but cannot be meant: mistakes that only the whole config shows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations
from urllib.parse import urlsplit

from ..cluster.rules import Strength
from .models import Config
from .sources import Location, Place

_PlaceOf = Callable[[Location], Place]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """What cannot be meant, and where it stands."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def contradictions(config: Config, place_of: _PlaceOf) -> list[Contradiction]:
    """Every contradiction; empty when there is none. `place_of` tells where a part of the config is written."""
    checks = (
        _doubled_hosts,
        _unreachable_peers,
        _unknown_pinned_hosts,
        _disjoint_pins,
        _too_large_groups,
        _crowds,
        _cooldown,
    )
    return [found for check in checks for found in check(config, place_of)]


def _doubled_hosts(config: Config, place_of: _PlaceOf) -> Iterator[Contradiction]:
    for key in ("name", "uri"):
        first: dict[str, int] = {}
        for index, host in enumerate(config.hosts):
            value = getattr(host, key)
            if first.setdefault(value, index) != index:
                here = place_of(("hosts", index, key))
                yield Contradiction(here, f"{value!r} is also that of {place_of(('hosts', first[value])).beside(here)}")


def _unreachable_peers(config: Config, place_of: _PlaceOf) -> Iterator[Contradiction]:
    """A URI without a machine in it means the host on which it is used: migrations would go to their own source."""
    if len(config.hosts) == 1:
        return
    for index, host in enumerate(config.hosts):
        peer_uri = host.to_address().peer_uri
        parts = urlsplit(peer_uri)
        if not parts.hostname and not parts.query:
            yield Contradiction(
                place_of(("hosts", index, "peer_uri")),
                f"other hosts cannot reach {peer_uri}; write how they do, such as qemu+tls://{host.name}/system",
            )


def _unknown_pinned_hosts(config: Config, place_of: _PlaceOf) -> Iterator[Contradiction]:
    names = [host.name for host in config.hosts]
    for index, pin in enumerate(config.pins):
        for position, pattern in enumerate(pin.hosts):
            if not any(fnmatchcase(name, pattern) for name in names):
                here = place_of(("pins", index, "hosts", position))
                yield Contradiction(here, f"{pattern!r} is no host; allowed: {', '.join(names)}")


def _disjoint_pins(config: Config, place_of: _PlaceOf) -> Iterator[Contradiction]:
    must = [(i, pin) for i, pin in enumerate(config.pins) if pin.strength is Strength.MUST]
    names = [host.name for host in config.hosts]
    for (first, one), (second, other) in combinations(must, 2):
        common = (n for n in names if all(any(fnmatchcase(n, p) for p in pin.hosts) for pin in (one, other)))
        if one.vm == other.vm and next(common, None) is None:
            here = place_of(("pins", second, "hosts"))
            elsewhere = place_of(("pins", first)).beside(here)
            yield Contradiction(here, f"{elsewhere} says {other.vm!r} must be elsewhere: no host is in both")


def _too_large_groups(config: Config, place_of: _PlaceOf) -> Iterator[Contradiction]:
    """Only names count: what a glob or a tag means is not known here."""
    for index, rule in enumerate(config.anti_affinity):
        names = {vm for vm in rule.vms if not vm.startswith("tag:") and not set(vm) & set("*?[")}
        domains = {host.labels.get(rule.spread_over, f"host {host.name}") for host in config.hosts}
        room = rule.max_per_host * len(domains)
        if rule.strength is Strength.MUST and len(names) > room and not rule.against:
            here = place_of(("anti_affinity", index, "vms"))
            yield Contradiction(here, f"{len(names)} VMs must keep apart, the hosts take only {room} of them")


def _crowds(config: Config, place_of: _PlaceOf) -> Iterator[Contradiction]:
    for index, rule in enumerate(config.anti_affinity):
        if rule.against and rule.max_per_host != 1:
            here = place_of(("anti_affinity", index, "max_per_host"))
            yield Contradiction(here, "says nothing beside against, where none may meet; leave it out")


def _cooldown(config: Config, place_of: _PlaceOf) -> Iterator[Contradiction]:
    if config.limits.cooldown_seconds > config.limits.max_cooldown_seconds:
        here = place_of(("limits", "max_cooldown"))
        yield Contradiction(here, f"must not be shorter than {place_of(('limits', 'cooldown')).beside(here)}")
