"""What is well written but cannot be meant: mistakes that only the whole config shows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from urllib.parse import urlsplit

from ..cluster.model import Host, Vm, VmState
from ..cluster.rules import Rules, Strength
from ..planner.feasibility import conflicts
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
        _impossible_rules,
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


def _impossible_rules(config: Config, place_of: _PlaceOf) -> Iterator[Contradiction]:
    """Of VMs that are named; what a glob or a tag means is not known here, but pins of the same one must agree."""
    rules = config.to_rules()
    hosts = [Host(name=host.name, cpus=0, memory_mib=0, labels=host.labels) for host in config.hosts]
    named, meant = _named(rules)
    found = [*conflicts(rules, named, hosts), *conflicts(Rules(pins=rules.pins), meant, hosts)]
    for conflict in found:
        *others, (kind, index) = conflict.rules
        names = ", ".join(conflict.vms)
        if others:
            here = place_of((kind, index))
            beside = ", ".join(place_of(other).beside(here) for other in others)
            yield Contradiction(here, f"cannot hold together with {beside} for {names}")
        elif kind == "anti_affinity":
            here, room = place_of((kind, index, "vms")), len(conflict.vms) - 1
            yield Contradiction(here, f"{names} must keep apart, the hosts take only {room} of them")


def _named(rules: Rules) -> tuple[list[Vm], list[Vm]]:
    """VMs that must-rules name, and one for each glob and tag of pins: some VM that it means."""
    pins = [pin.vm for pin in rules.pins if pin.strength is Strength.MUST]
    groups = [
        *(rule.vms + rule.against for rule in rules.anti_affinity if rule.strength is Strength.MUST),
        *(rule.vms for rule in rules.affinity if rule.strength is Strength.MUST),
    ]
    every = dict.fromkeys((*pins, *chain.from_iterable(groups)))
    return [_some(name) for name in every if _is_name(name)], [
        _some(pin) for pin in dict.fromkeys(pins) if not _is_name(pin)
    ]


def _is_name(selector: str) -> bool:
    return not selector.startswith("tag:") and not set(selector) & set("*?[")


def _some(selector: str) -> Vm:
    """A VM that `selector` means."""
    key, _, value = selector.removeprefix("tag:").partition("=")
    labels = {key: value} if selector.startswith("tag:") else {}
    return Vm(name=selector, uuid=selector, vcpus=1, memory_mib=1, state=VmState.STOPPED, labels=labels)


def _crowds(config: Config, place_of: _PlaceOf) -> Iterator[Contradiction]:
    for index, rule in enumerate(config.anti_affinity):
        if rule.against and rule.max_per_host != 1:
            here = place_of(("anti_affinity", index, "max_per_host"))
            yield Contradiction(here, "says nothing beside against, where none may meet; leave it out")


def _cooldown(config: Config, place_of: _PlaceOf) -> Iterator[Contradiction]:
    if config.limits.cooldown_seconds > config.limits.max_cooldown_seconds:
        here = place_of(("limits", "max_cooldown"))
        yield Contradiction(here, f"must not be shorter than {place_of(('limits', 'cooldown')).beside(here)}")
