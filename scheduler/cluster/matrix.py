"""Which host's guests can move to which other, and the CPU that all hosts share: what the answers mean. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .model import Host, HostState
from .observation import DomainFacts
from .ports import CpuAnswer
from .reason import Reason
from .versions import older

CODE_CPU = "cpu_missing"
CODE_CPU_UNKNOWN = "cpu_unknown"
CODE_MACHINE = "machine_type"
CODE_HOST = "host_state"
CODE_OLDER = "hypervisor_older"
CODE_TYPE = "domain_type"


class Possible(StrEnum):
    """Whether a move can be made."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One way between two hosts. `missing` are the CPU features that the destination lacks, by name."""

    source: str
    destination: str
    possible: Possible
    missing: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    """Why not, or why nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixHost:
    """A host of the matrix."""

    name: str
    state: str
    cpu_model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Every ordered pair of hosts, in the order of `hosts`.

    Without `vm` the guest is one that got the CPU of the host it started on (host-model), and only what that asks of
    the destination is judged. Of a VM everything that holds for a migration is, wherever it were; `host` is where it
    is.
    """

    vm: str | None
    host: str | None
    hosts: tuple[MatrixHost, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineHost:
    """What the shared CPU means for one host."""

    name: str
    cpu_model: str | None
    loses: tuple[str, ...]
    """What guests get of its own CPU (host-model) and would not get of the shared one."""
    holds_back: tuple[str, ...]
    """What all other hosts have and it has not: without it they would share this as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A host that the shared CPU does not regard, and why."""

    name: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The largest CPU that every host can run."""

    cpu_xml: str
    """A `<cpu>` element for domain XML."""
    features: tuple[str, ...]
    """All that it has, those of its model included."""
    held_back_by: tuple[str, ...]
    """The hosts that keep it from being larger; empty when all hosts are alike."""
    hosts: tuple[BaselineHost, ...]
    left_out: tuple[LeftOut, ...]


def shown(hosts: Iterable[Host]) -> tuple[MatrixHost, ...]:
    """The hosts as the matrix names them."""
    return tuple(MatrixHost(name=host.name, state=host.state.value, cpu_model=host.cpu_model) for host in hosts)


def unreachable(host: Host) -> Reason | None:
    """Why a host cannot be asked; None when it can."""
    if host.state is HostState.UNREACHABLE:
        return Reason(CODE_HOST, f"the libvirt of {host.name} does not answer")
    return None


def unheard(source: str, destination: str, why: Reason) -> Pair:
    """A pair of which nothing can be known."""
    return Pair(source=source, destination=destination, possible=Possible.UNKNOWN, reasons=(why,))


def judge(
    guest: DomainFacts, source: Host, destination: Host, at_home: CpuAnswer, there: CpuAnswer, given: DomainFacts | None
) -> Pair:
    """What the answers of both hosts mean for a guest that runs on `source`, and what else stands in its way.

    `given` is a host-model guest of the destination. It names features where its libvirt says no in other words.
    What libvirt calls missing even where the guest runs is no evidence (it happens to guests of host-model CPUs): a no
    that rests on nothing else counts as unknown.
    """
    reasons: list[Reason] = []
    missing: frozenset[str] = frozenset()
    unknown = False
    if there.compatible is None:
        unknown = True
        reasons.append(Reason(CODE_CPU_UNKNOWN, f"{destination.name} cannot tell: {there.text}"))
    elif not there.compatible:
        missing = there.missing or _lacks(guest, given)
        false_alarm = at_home.compatible is False and (there.lacks or frozenset()) <= (at_home.lacks or frozenset())
        unknown = false_alarm
        reasons.append(_doubt(source.name, destination.name, there) if false_alarm else _no(there, missing))
    types = destination.machine_types
    if guest.machine_type is not None and types is not None and guest.machine_type not in types:
        unknown = False
        reasons.append(
            Reason(CODE_MACHINE, f"has no machine type {guest.machine_type}", machine_type=guest.machine_type)
        )
    if found := older(destination.versions, source.versions):
        unknown = False
        reasons.append(Reason(CODE_OLDER, ", ".join(found)))
    if destination.domain_types is not None and guest.virt_type not in destination.domain_types:
        unknown = False
        reasons.append(Reason(CODE_TYPE, f"offers no {guest.virt_type}"))
    return Pair(
        source=source.name,
        destination=destination.name,
        possible=Possible.YES if not reasons else Possible.UNKNOWN if unknown else Possible.NO,
        missing=tuple(sorted(missing)),
        reasons=tuple(reasons),
    )


def _lacks(guest: DomainFacts, given: DomainFacts | None) -> frozenset[str]:
    if guest.required_cpu_features is None or given is None or given.required_cpu_features is None:
        return frozenset()
    return guest.required_cpu_features - given.required_cpu_features


def _no(answer: CpuAnswer, missing: frozenset[str]) -> Reason:
    names = ", ".join(sorted(missing))
    if answer.missing:
        return Reason(CODE_CPU, f"CPU lacks {names}", missing=sorted(missing))
    also = f" (it lacks {names})" if names else ""
    return Reason(CODE_CPU, f"CPU does not fit: {answer.text}{also}", missing=sorted(missing))


def _doubt(source: str, destination: str, answer: CpuAnswer) -> Reason:
    what = ", ".join(sorted(answer.lacks or ()))
    return Reason(
        CODE_CPU_UNKNOWN, f"{destination} says that its CPU lacks {what}, but so does {source}, where such a guest runs"
    )


def baseline(
    shared: DomainFacts,
    guests: Mapping[str, DomainFacts],
    models: Mapping[str, str | None],
    left_out: Sequence[LeftOut],
) -> Baseline:
    """What a shared CPU means. `guests` are host-model guests by host; `models` the hosts' CPU models."""
    has = {name: guest.required_cpu_features or frozenset() for name, guest in guests.items()}
    kept = shared.required_cpu_features or frozenset()
    every = frozenset[str]().union(*has.values())
    alone = {name: _shared_by(has, but=name) - own if len(has) > 1 else frozenset() for name, own in has.items()}
    lacks_most = max((len(every - own) for own in has.values()), default=0)
    # Where no host alone holds the others back, those do that lack most of what any has.
    several = () if lacks_most == 0 else tuple(name for name, own in has.items() if len(every - own) == lacks_most)
    return Baseline(
        cpu_xml=shared.cpu_xml or "",
        features=tuple(sorted(kept)),
        held_back_by=tuple(name for name in has if alone[name]) or several,
        hosts=tuple(
            BaselineHost(
                name=name,
                cpu_model=models.get(name),
                loses=tuple(sorted(own - kept)),
                holds_back=tuple(sorted(alone[name])),
            )
            for name, own in has.items()
        ),
        left_out=tuple(left_out),
    )


def _shared_by(has: Mapping[str, frozenset[str]], *, but: str) -> frozenset[str]:
    return frozenset.intersection(*(own for name, own in has.items() if name != but))
