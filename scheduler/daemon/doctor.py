"""Looks over everything that migrations need, before one is made: hosts, ways between them, locks of disks, rules.

It uses connections of its own and needs no daemon; nothing is changed on any host.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import permutations
from pathlib import Path

from ..cluster.assemble import HostInput, Windows, assemble
from ..cluster.demand import DemandBook
from ..cluster.model import Snapshot, VmState
from ..cluster.observation import HostObservation
from ..cluster.ports import HostAddress, HypervisorCluster, HypervisorError, MemoryPortError, PeerError
from ..cluster.rules import Rules
from ..cluster.versions import older
from ..planner.soundness import soundness
from . import reach
from .hosts import same_machine_as

_CONNECT_RETRY_SECONDS = 0.1
CERTIFICATE_WARNING_DAYS = 30
_SOUND = {
    "rules": "all must-rules can hold together, as far as is known",
    "selector": "every rule speaks of VMs and hosts that there are",
    "loss": "any one host can be lost: all of its VMs that can restart find places",
}
_TRIED_VMS = 3
"""A VM that libvirt itself would not migrate shows nothing of the way; then the next one is tried."""
_LOCK_MANAGER = re.compile(r'^\s*lock_manager\s*=\s*"(?P<name>[^"]+)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """What is read on this machine."""

    qemu_conf: Path = Path("/etc/libvirt/qemu.conf")
    pki: Path = Path("/etc/pki")


class Result(StrEnum):
    """How a check came out. Only FAILED makes the whole fail."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check. `host` is the source and `destination` given where it is about the way between two hosts."""

    check: str
    """`libvirt`, `versions`, `kvm`, `lock_manager`, `certificate`, `peer`, `memory_port`, or that of a Flaw."""
    host: str
    """Empty where it is about no single host."""
    destination: str | None = None
    result: Result
    text: str


async def examine(
    cluster: HypervisorCluster,
    addresses: Sequence[HostAddress],
    *,
    files: LocalFiles = LocalFiles(),
    connect_seconds: float = 5.0,
) -> list[Finding]:
    """All findings, host by host and then way by way. `cluster` must not be connected yet; it stays open.

    A host that is not there after `connect_seconds` counts as unreachable.
    """
    for address in addresses:
        await cluster.connect(address)
    looks = dict(
        zip(
            addresses,
            await asyncio.gather(*(_look(cluster, one.name, connect_seconds) for one in addresses)),
            strict=True,
        )
    )
    seen = {address: look for address, look in looks.items() if isinstance(look, HostObservation)}
    findings = [_libvirt(address, look, _first_of(seen, look)) for address, look in looks.items()]
    findings += _versions(seen.values())
    findings += [_kvm(look) for look in seen.values()]
    findings += [_lock_manager(address, files.qemu_conf) for address in seen]
    findings += await asyncio.gather(
        *(
            _certificate(address.name, *endpoint, files.pki)
            for address in addresses
            if (endpoint := reach.tls_endpoint(address.peer_uri)) is not None
        )
    )
    if len(addresses) > 1:
        # QEMU would take a knock for the migration that it waits for.
        receiving = {look.host for look in seen.values() if any(domain.incoming for domain in look.domains)}
        findings += await asyncio.gather(*(_memory_port(one) for one in addresses if one.name not in receiving))
    findings += [
        finding
        for found in await asyncio.gather(*(_ways(cluster, source, look, addresses) for source, look in looks.items()))
        for finding in found
    ]
    return findings


async def observed(cluster: HypervisorCluster, hosts: Sequence[HostInput], rules: Rules) -> Snapshot:
    """What `flaws` wants: a look at each of `hosts`, to which `cluster` is connected if they can be reached."""
    seen = []
    for host in hosts:
        try:
            look = await cluster.observe(host.name)
        except HypervisorError:
            seen.append(replace(host, reachable=False, observation=None))
        else:
            seen.append(replace(host, reachable=True, observation=look))
    now_s = max((host.observation.monotonic_s for host in seen if host.observation), default=0.0)
    windows = Windows(now_s=now_s)
    return assemble(datetime.now(UTC), seen, DemandBook(), windows, rules, lambda _: {})


def flaws(snapshot: Snapshot) -> list[Finding]:
    """What is wrong with the rules and the room of a cluster; one finding each that says so if nothing is."""
    found = [
        Finding(
            check=flaw.check,
            host=flaw.host or "",
            result=Result.FAILED if flaw.check == "rules" else Result.WARNING,
            text=flaw.text,
        )
        for flaw in soundness(snapshot)
    ]
    wrong = {finding.check for finding in found}
    return found + [
        Finding(check=check, host="", result=Result.OK, text=text)
        for check, text in _SOUND.items()
        if check not in wrong
    ]


async def _look(cluster: HypervisorCluster, host: str, patience_s: float) -> HostObservation | HypervisorError:
    """The host, once it is connected; what was wrong at the end of the patience."""
    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            return await cluster.observe(host)
        except HypervisorError as error:
            if asyncio.get_running_loop().time() > deadline:
                return error
            await asyncio.sleep(_CONNECT_RETRY_SECONDS)


def _first_of(seen: dict[HostAddress, HostObservation], look: HostObservation | HypervisorError) -> str:
    """The first host that says it is the machine of this look."""
    if isinstance(look, HypervisorError) or not look.facts.uuid:
        return look.host
    return next(other.host for other in seen.values() if other.facts.uuid == look.facts.uuid)


def _libvirt(address: HostAddress, look: HostObservation | HypervisorError, first: str) -> Finding:
    """`first` is the first host that is the same machine."""
    if isinstance(look, HypervisorError):
        return Finding(check="libvirt", host=address.name, result=Result.FAILED, text=f"{address.uri}: {look.text}")
    if first != address.name:
        return Finding(check="libvirt", host=address.name, result=Result.FAILED, text=same_machine_as(first))
    running = sum(domain.state is not VmState.STOPPED for domain in look.domains)
    facts = look.facts
    text = f"libvirt {facts.libvirt_version}, QEMU {facts.hypervisor_version}, {running} of {len(look.domains)} VMs run"
    return Finding(check="libvirt", host=address.name, result=Result.OK, text=text)


def _versions(seen: Iterable[HostObservation]) -> list[Finding]:
    """Hosts with older versions than others: VMs may not get back to them."""
    known = {look.host: (look.facts.libvirt_version or None, look.facts.hypervisor_version or None) for look in seen}
    findings = []
    for host, own in known.items():
        behind = sorted({clause for others in known.values() for clause in older(own, others)})
        text = f"{', '.join(behind)} elsewhere: VMs from there do not move here" if behind else "as new as any"
        findings.append(Finding(check="versions", host=host, result=Result.WARNING if behind else Result.OK, text=text))
    return findings


def _kvm(look: HostObservation) -> Finding:
    types = look.facts.domain_types
    if types is None:
        return Finding(check="kvm", host=look.host, result=Result.UNKNOWN, text="its libvirt does not tell")
    if "kvm" in types:
        return Finding(check="kvm", host=look.host, result=Result.OK, text="available")
    return Finding(
        check="kvm", host=look.host, result=Result.WARNING, text="not available: guests are emulated, slowly"
    )


def _lock_manager(address: HostAddress, qemu_conf: Path) -> Finding:
    """What keeps two QEMUs from one disk. libvirt does not tell, so only this machine's own file shows it."""
    here = f"lock_manager in {qemu_conf}"
    if reach.host_of(address.uri) is not None or "socket=" in address.uri:
        return Finding(
            check="lock_manager", host=address.name, result=Result.UNKNOWN,
            text=f"libvirt does not tell it from afar: see {here} there",
        )  # fmt: skip
    try:
        found = _LOCK_MANAGER.search(qemu_conf.read_text())
    except OSError as error:
        text = f"cannot read {qemu_conf}: {error.strerror}"
        return Finding(check="lock_manager", host=address.name, result=Result.UNKNOWN, text=text)
    if found is None:
        text = f"none: nothing keeps a VM started on two hosts from its disks; see {here}"
        return Finding(check="lock_manager", host=address.name, result=Result.WARNING, text=text)
    return Finding(check="lock_manager", host=address.name, result=Result.OK, text=found["name"])


async def _certificate(name: str, host: str, port: int, pki: Path) -> Finding:
    where = f"{host}:{port}"
    try:
        ends = await reach.certificate_ends(host, port, pki)
    except OSError as error:
        text = f"{where}: {_told(error)}"
        return Finding(check="certificate", host=name, result=Result.FAILED, text=text)
    days = (ends - datetime.now(UTC)).days
    result = Result.OK if days >= CERTIFICATE_WARNING_DAYS else Result.WARNING
    return Finding(check="certificate", host=name, result=result, text=f"{where}: valid for {days} days, to {ends:%F}")


async def _memory_port(address: HostAddress) -> Finding:
    """Whether packets from here get to where memory is sent: a hint, as the other hosts may go another way."""
    host = address.migration_address or reach.host_of(address.peer_uri)
    if host is None:
        text = "neither migration_address nor peer_uri tells where memory is sent"
        return Finding(check="memory_port", host=address.name, result=Result.UNKNOWN, text=text)
    where = f"{host}:{address.migration_port}"
    try:
        await reach.knock(host, address.migration_port)
    except OSError as error:
        text = f"{where} is not reached from this machine ({_told(error)}); other hosts may"
        return Finding(check="memory_port", host=address.name, result=Result.UNKNOWN, text=text)
    text = f"{where} answers this machine; only a migration shows whether it answers the other hosts"
    return Finding(check="memory_port", host=address.name, result=Result.OK, text=text)


def _told(error: OSError) -> str:
    return error.strerror or str(error) or "no answer"


async def _ways(
    cluster: HypervisorCluster,
    source: HostAddress,
    look: HostObservation | HypervisorError,
    addresses: Sequence[HostAddress],
) -> list[Finding]:
    """From one host to each other, one after the other: a VM is lent to one of them at a time."""
    destinations = [destination for origin, destination in permutations(addresses, 2) if origin == source]
    return [await _way(cluster, source, look, destination) for destination in destinations]


async def _way(
    cluster: HypervisorCluster,
    source: HostAddress,
    look: HostObservation | HypervisorError,
    destination: HostAddress,
) -> Finding:
    """Have the source connect to the destination, as it would to migrate one of its VMs."""
    result, text = Result.UNKNOWN, f"{source.name} has no VM to try it with"
    if isinstance(look, HypervisorError):
        text = f"{source.name} does not answer"
    for uuid in [] if isinstance(look, HypervisorError) else _most_fit(look):
        try:
            await cluster.probe_migration(uuid, source.name, destination.name)
            reached = await cluster.probe_memory_port(source.name, destination.name)
        except PeerError as error:
            result, text = Result.FAILED, f"{destination.peer_uri}: {error.text}"
        except MemoryPortError as error:
            result, text = Result.FAILED, f"memory cannot be sent there: {error.text}"
        except HypervisorError as error:
            text = f"could not be tried: {error.text}"
            continue
        else:
            result, text = Result.OK, f"{destination.peer_uri}: connected with the credentials of {source.name}"
            text += "; packets get to its memory port" if reached else ""
        break
    return Finding(check="peer", host=source.name, destination=destination.name, result=result, text=text)


def _most_fit(look: HostObservation) -> list[str]:
    """A few VMs to try a way with: those without devices in the way first, and stopped ones before running ones."""
    fit = sorted(
        (domain for domain in look.domains if not domain.incoming and domain.state is not VmState.PAUSED),
        key=lambda domain: (bool(domain.facts.blockers), domain.state is not VmState.STOPPED),
    )
    return [domain.uuid for domain in fit[:_TRIED_VMS]]
