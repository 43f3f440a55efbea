"""The matrix of what can move where, and the CPU that all hosts share, asked of the hosts as they are now."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..cluster import matrix
from ..cluster.matrix import Baseline, LeftOut, Matrix, Pair, Possible
from ..cluster.model import Host, HostState, Snapshot, Vm, VmState
from ..cluster.observation import DomainFacts
from ..cluster.ports import CpuAnswer, HypervisorCluster, HypervisorError
from ..cluster.reason import Reason
from ..planner.placement import CODE_SOURCE_UNREACHABLE, check_moves
from ..planner.settings import PlannerSettings
from ..web.control import ControlError

NOT_ON_SOURCE = "not_on_source"
_NOBODY_KNOWS = frozenset({matrix.CODE_CPU_UNKNOWN, CODE_SOURCE_UNREACHABLE, "host_stale"})
"""Reasons that are no refusal by themselves."""


async def of_hosts(cluster: HypervisorCluster, snapshot: Snapshot) -> Matrix:
    """For each pair: can a guest with the CPU of the source (host-model) move to the destination?"""
    guests = dict(
        zip(_names(snapshot), await asyncio.gather(*(_given(cluster, h) for h in snapshot.hosts)), strict=True)
    )
    rows = await asyncio.gather(*(_row(cluster, snapshot, host.name, guests) for host in snapshot.hosts))
    return _matrix(snapshot, rows)


async def of_vm(cluster: HypervisorCluster, snapshot: Snapshot, vm: Vm, settings: PlannerSettings) -> Matrix:
    """For each pair: could this VM, if it ran on the source, migrate to the destination, by all that holds for it?"""
    domain = await cluster.domain(vm.host, vm.uuid) if vm.host is not None else None
    if domain is None:
        raise ControlError("conflict", f"{vm.name} is not on {vm.host} any more")
    known = await _answers(cluster, snapshot, domain.facts)
    rows = []
    for source in snapshot.hosts:
        guest, answers = domain.facts, known
        if not vm.active:  # a CPU made of the host's depends on where it will start
            started = await _started(cluster, source, domain.facts)
            if isinstance(started, Reason):
                rows.append([matrix.unheard(source.name, other, started) for other in _others(snapshot, source.name)])
                continue
            guest, answers = started, await _answers(cluster, snapshot, started)
        there = _running(vm, guest, source.name, answers)
        rows.append(await asyncio.to_thread(_vm_row, snapshot, there, vm, settings, answers))
    return replace(_matrix(snapshot, rows), vm=vm.name, host=vm.host)


async def baseline(cluster: HypervisorCluster, snapshot: Snapshot) -> Baseline:
    """The largest CPU that every host that answers can run, found and confirmed by the hosts' own libvirt.

    ControlError `refused` when there is none, `unavailable` when no host answers.
    """
    guests: dict[str, DomainFacts] = {}
    left_out = []
    for host in snapshot.hosts:
        given = await _given(cluster, host)
        if isinstance(given, Reason):
            left_out.append(LeftOut(name=host.name, reason=given))
        else:
            guests[host.name] = given
    if not guests:
        raise ControlError("unavailable", "no host tells its CPU", [one.reason for one in left_out])
    shared = await _shared(cluster, guests)
    return matrix.baseline(shared, guests, {host.name: host.cpu_model for host in snapshot.hosts}, left_out)


async def _shared(cluster: HypervisorCluster, guests: Mapping[str, DomainFacts]) -> DomainFacts:
    """The CPU that one host's libvirt makes of all hosts', and every host accepts.

    Each is asked in turn: an old libvirt may not know what a newer one calls a CPU.
    """
    kinds = {f"{guest.virt_type} on {guest.arch}" for guest in guests.values()}
    if len(kinds) > 1:
        raise ControlError("refused", f"the hosts run different kinds of guests: {', '.join(sorted(kinds))}")
    failures: list[str] = []
    for name in guests:
        try:
            shared = await cluster.baseline_guest(name, list(guests.values()))
        except HypervisorError as error:
            failures.append(str(error))
            continue
        against = [other for other in guests if (await _compare(cluster, other, shared)).compatible is not True]
        if not against:
            return shared
        failures.append(f"{name}: what it found does not run on {', '.join(against)}")
    raise ControlError("refused", f"the hosts have no CPU in common: {'; '.join(dict.fromkeys(failures))}")


async def _given(cluster: HypervisorCluster, host: Host) -> DomainFacts | Reason:
    """A guest with the host's own CPU, or why it is unknown."""
    return await _started(cluster, host, None)


async def _started(cluster: HypervisorCluster, host: Host, like: DomainFacts | None) -> DomainFacts | Reason:
    if (silent := matrix.unreachable(host)) is not None:
        return silent
    try:
        return await cluster.host_model_guest(host.name, like)
    except HypervisorError as error:
        return Reason(matrix.CODE_CPU_UNKNOWN, f"the CPU of {host.name} is unknown: {error.text}")


async def _row(
    cluster: HypervisorCluster, snapshot: Snapshot, source: str, guests: Mapping[str, DomainFacts | Reason]
) -> list[Pair]:
    guest = guests[source]
    if isinstance(guest, Reason):
        return [matrix.unheard(source, other, guest) for other in _others(snapshot, source)]
    answers = await _answers(cluster, snapshot, guest)
    pairs = []
    for host in snapshot.hosts:
        if host.name == source:
            continue
        given = guests[host.name]
        if (silent := matrix.unreachable(host)) is not None:
            pairs.append(matrix.unheard(source, host.name, silent))
        else:
            known = None if isinstance(given, Reason) else given
            pairs.append(matrix.judge(guest, snapshot.host(source), host, answers[source], answers[host.name], known))
    return pairs


async def _answers(cluster: HypervisorCluster, snapshot: Snapshot, guest: DomainFacts) -> dict[str, CpuAnswer]:
    """What each host that answers says of the guest's CPU."""
    names = [host.name for host in snapshot.hosts if host.state is not HostState.UNREACHABLE]
    answers = await asyncio.gather(*(_compare(cluster, name, guest) for name in names))
    return dict(zip(names, answers, strict=True))


async def _compare(cluster: HypervisorCluster, host: str, guest: DomainFacts) -> CpuAnswer:
    try:
        return await cluster.compare_cpu(host, guest)
    except HypervisorError as error:
        return CpuAnswer(compatible=None, text=error.text)


def _running(vm: Vm, guest: DomainFacts, host: str, answers: Mapping[str, CpuAnswer]) -> Vm:
    """The VM as if it ran on `host`, with what the hosts have answered."""
    return replace(
        vm,
        host=host,
        state=VmState.RUNNING,
        destination=None,
        required_cpu_features=guest.required_cpu_features,
        cpu_missing_on={name: lacks for name, answer in answers.items() if (lacks := answer.lacks) is not None},
        # Its definition would have gone along.
        defined_on=tuple(host if name == vm.host else name for name in vm.defined_on),
    )


def _vm_row(
    snapshot: Snapshot, there: Vm, now: Vm, settings: PlannerSettings, answers: Mapping[str, CpuAnswer]
) -> list[Pair]:
    """All pairs from where the VM is put. Where it is not, what keeps it from being there holds for all of them."""
    source = there.host or ""
    supposed = replace(snapshot, vms=tuple(there if vm.uuid == there.uuid else vm for vm in snapshot.vms))
    against = check_moves(supposed, there, settings)
    cannot_be: tuple[Reason, ...] = ()
    if source != now.host and (lacks := there.cpu_missing_on.get(source)):
        cannot_be = (Reason(NOT_ON_SOURCE, f"cannot be on {source}: CPU lacks {', '.join(sorted(lacks))}"),)
    return [
        _pair(snapshot.host(other), source, (*cannot_be, *against[other]), answers.get(other))
        for other in _others(snapshot, source)
    ]


def _pair(destination: Host, source: str, reasons: tuple[Reason, ...], answer: CpuAnswer | None) -> Pair:
    silent = destination.state is HostState.UNREACHABLE
    refusals = [
        one for one in reasons if one.code not in _NOBODY_KNOWS and not (silent and one.code == matrix.CODE_HOST)
    ]
    return Pair(
        source=source,
        destination=destination.name,
        possible=Possible.NO if refusals else Possible.UNKNOWN if reasons else Possible.YES,
        missing=() if answer is None else tuple(sorted(answer.missing)),
        reasons=reasons,
    )


def _matrix(snapshot: Snapshot, rows: Iterable[Sequence[Pair]]) -> Matrix:
    pairs = tuple(pair for row in rows for pair in row)
    return Matrix(vm=None, host=None, hosts=matrix.shown(snapshot.hosts), pairs=pairs)


def _names(snapshot: Snapshot) -> list[str]:
    return [host.name for host in snapshot.hosts]


def _others(snapshot: Snapshot, source: str) -> list[str]:
    return [name for name in _names(snapshot) if name != source]
