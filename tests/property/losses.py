"""Whether the loss of a host can be borne, by trying every way to start its VMs elsewhere: plain loops over names."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from scheduler.cluster.model import Snapshot, Vm, VmState
from scheduler.cluster.rules import Strength
from tests.property import judge

MOST_TRIALS = 3_000


class TooManyWaysError(Exception):
    """There are more ways than it is worth trying."""


def borne(snapshot: Snapshot, lost: str, on: set[str]) -> bool:
    """Whether all VMs that can start without `lost` find places on the other hosts `on`. Raises TooManyWaysError."""
    stopped = [vm for vm in snapshot.vms if vm.active and vm.host == lost and vm.movable]
    gone = {vm.uuid for vm in snapshot.vms if vm.active and vm.host == lost}
    running = {uuid: ends for uuid, ends in judge.State.of(snapshot).on.items() if uuid not in gone}
    places = {vm.uuid: [host for host in sorted(on - {lost}) if _may_start(snapshot, vm, host)] for vm in stopped}
    stopped.sort(key=lambda vm: (len(places[vm.uuid]), -vm.memory_mib))
    return _start(judge.State(snapshot, running), stopped, places, [0])


def _may_start(snapshot: Snapshot, vm: Vm, host: str) -> bool:
    """Whether `vm` may start there once its own host is lost; a CPU that nobody knows refuses no start."""
    facts = snapshot.host(host)
    known = host in vm.cpu_missing_on or None not in (vm.required_cpu_features, facts.cpu_features)
    there = facts if known else replace(facts, cpu_features=frozenset())
    asked = vm if known else replace(vm, required_cpu_features=frozenset())
    hosts = tuple(there if one.name == host else one for one in snapshot.hosts)
    stopped = replace(asked, state=VmState.RUNNING, quarantine=None, destination=None)
    return not judge.refusals(replace(snapshot, hosts=hosts), stopped, host)


def _start(state: judge.State, vms: list[Vm], places: Mapping[str, list[str]], trials: list[int]) -> bool:
    if not vms:
        return True
    trials[0] += 1
    if trials[0] > MOST_TRIALS:
        raise TooManyWaysError
    for name in places[vms[0].uuid]:
        if _takes(state, vms[0], name):
            state.on[vms[0].uuid] = {name}
            if _start(state, vms[1:], places, trials):
                return True
            del state.on[vms[0].uuid]
    return False


def _takes(state: judge.State, vm: Vm, name: str) -> bool:
    host, rules = state.snapshot.host(name), state.snapshot.rules
    if state.memory_mib(name) + vm.memory_mib > host.memory_mib - host.reserved_memory_mib:
        return False
    for apart in rules.anti_affinity:
        if apart.strength is Strength.MUST and judge.too_many(state, apart, vm, host):
            return False
    for together in rules.affinity:
        if together.strength is Strength.MUST and judge.member(together.vms, vm):
            others = (one for one in state.snapshot.vms if one.uuid in state.on and judge.member(together.vms, one))
            homes = Counter(next(iter(state.on[one.uuid])) for one in others)
            if homes and homes[name] < max(homes.values()):
                return False
    return True
