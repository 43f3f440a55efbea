"""Placement: the host on which a VM starts, and where a running VM goes when only its departure was asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from ..cluster.model import Host, Snapshot, Vm, VmState
from ..cluster.reason import Reason
from ..filters import registry
from ..filters.view import BoolArray, IntArray, Need, View
from . import obstacle, scoring
from .canonical import canonical
from .cost import Pace, Paces, convergence
from .load import Load
from .plan import Step
from .room import RoomSearch
from .settings import PlannerSettings

CODE_ALREADY_THERE = "already_there"
CODE_NOT_RUNNING = "not_running"
CODE_RUNNING = "already_running"
CODE_SOURCE_UNREACHABLE = "source_unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A host that can take the VM. The score is that of the host with the VM on it; lower is better."""

    host: str
    score: float
    terms: Mapping[str, float]
    """The weighted parts of the score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A host that cannot take the VM."""

    host: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The choice for one VM. `host` is None when no host can take it."""

    vm: str
    uuid: str
    host: str | None
    ranking: tuple[Ranked, ...]
    """Best first."""
    refused: tuple[Refusal, ...]
    moves_first: tuple[Step, ...] = field(default=())
    """When no host can take it: the cheapest moves after which one can."""
    takers: int
    """How many hosts can take it; `ranking` may show only the best of them."""
    refusers: int
    """How many cannot; `refused` may show only those that come nearest to it."""

    def as_dict(self) -> dict[str, object]:
        """The form tools get."""
        return {
            "vm": self.vm,
            "host": self.host,
            "ranking": [
                {"host": ranked.host, "score": ranked.score, "terms": dict(ranked.terms)} for ranked in self.ranking
            ],
            "refused": [
                {"host": refusal.host, "reasons": [reason.as_dict() for reason in refusal.reasons]}
                for refusal in self.refused
            ],
            "moves_first": [step.as_dict() for step in self.moves_first],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How much of a choice is told: in a large cluster naming all hosts takes longer than choosing one."""

    best: int | None = None
    """So many of the hosts that can take the VM, and as many of those that cannot; None: all."""
    hosts: frozenset[str] = frozenset()
    """These in any case."""

    def of(self, ordered: IntArray, view: View) -> IntArray:
        """Those of `ordered` that are told."""
        if self.best is None or len(ordered) <= self.best:
            return ordered
        wanted = [view.host_index[name] for name in self.hosts if name in view.host_index]
        also = [host for host in wanted if host in ordered[self.best :]]
        return np.array([*ordered[: self.best], *also], dtype=np.int64)


EVERYTHING: Final = Account()


class Placer:
    """Places VMs over one snapshot, one after the other: each sees the room that those before it take.

    The arrays are made once, so in a large cluster all decisions but the first take milliseconds.
    """

    def __init__(self, snapshot: Snapshot, settings: PlannerSettings) -> None:
        self.load = Load(View(canonical(snapshot)), settings)
        self.load.expect()
        vms = self.load.view.vms
        self._places = {vm.uuid: place for place, vm in enumerate(vms)}
        self._listed = dict(self._places)
        """Those of the snapshot; `_places` has what was described since as well."""
        self._by_name = {vm.name: vm for vm in vms}
        self._coming = {(vm.uuid, vm.destination) for vm in vms if vm.destination is not None}

    def place(self, vm: Vm, account: Account = EVERYTHING) -> Placement:
        """A host for `vm`, which then runs there. One that the snapshot has as stopped is started, another is new.

        A VM that already runs is refused by every host.
        """
        placement = self.choose(vm, account)
        if placement.host is not None:
            self.start(vm, placement.host)
        elif (search := self.search(vm)) is not None:
            placement = replace(placement, moves_first=search.steps())
        return placement

    def choose(self, vm: Vm, account: Account = EVERYTHING) -> Placement:
        """The same without starting it there, and without `moves_first`: see `search`."""
        view, place = self.load.view, self._place_of(vm)
        if view.active[place]:
            there = view.hosts[int(view.vm_host[place])].name
            return refused_everywhere(vm, view.hosts, Reason(CODE_RUNNING, f"already runs on {there}"))
        return _choose(self.load, place, account)

    def search(self, vm: Vm) -> RoomSearch | None:
        """How moves are found after which a host can take `vm`, which now none can; None when it runs already.

        It has arrays of its own, so it may go on in another thread while VMs are placed here.
        """
        place = self._place_of(vm)
        return None if self.load.view.active[place] else RoomSearch(self.load.copy(), place)

    def start(self, vm: Vm, host: str) -> None:
        """`vm` runs on `host`, unless it is known to run already or `host` is no host here."""
        view, place = self.load.view, self._places.get(vm.uuid)
        if place is None:
            place = self._place_of(vm)
        if not view.active[place] and host in view.host_index:
            self.load.move(place, view.host_index[host])
            self._by_name[vm.name] = replace(vm, host=host)

    def expect(self, uuid: str, destination: str) -> None:
        """That running VM is on its way to `destination`, and the snapshot may not know it."""
        view, place = self.load.view, self._places.get(uuid)
        if place is None or (uuid, destination) in self._coming or destination not in view.host_index:
            return
        self._coming.add((uuid, destination))
        if view.active[place] and view.hosts[int(view.vm_host[place])].name != destination:
            self.load.depart(place, view.host_index[destination])

    def known(self, vm: Vm) -> Vm | None:
        """The VM here that has the UUID of `vm` or, failing that, its name."""
        place = self._listed.get(vm.uuid)
        return self._by_name.get(vm.name) if place is None else self.load.view.vms[place]

    def _place_of(self, vm: Vm) -> int:
        """Its index; a VM that is not running is taken as it is described now."""
        place = self._places.get(vm.uuid)
        if place is None or (not self.load.view.active[place] and self.load.view.vms[place] is not vm):
            place = self._places[vm.uuid] = self.load.add(replace(vm, state=VmState.STOPPED, destination=None))
        return place

    def stop(self, uuid: str) -> None:
        """That running VM has ended, or was not started after all: its room is free again."""
        self.load.stop(self._places[uuid])


def place(snapshot: Snapshot, vms: Sequence[Vm], settings: PlannerSettings) -> tuple[Placement, ...]:
    """A host for each of `vms`; each sees the room that those before it take, the most important ones first.

    A VM that the snapshot has (by UUID) is a defined one to start; another is new. A VM that already runs is refused
    by every host.
    """
    placer = Placer(snapshot, settings)
    order = sorted(range(len(vms)), key=lambda place: -snapshot.priority(vms[place]))
    placed = {place: placer.place(vms[place]) for place in order}
    return tuple(placed[place] for place in range(len(vms)))


def choose_destination(snapshot: Snapshot, vm: Vm, settings: PlannerSettings) -> Placement:
    """The best host for a running VM other than the one it is on, with all refusals.

    Its cooldown does not matter: a person asked. Raises KeyError when the snapshot does not have it.
    """
    snapshot = _unreserved(snapshot, vm)
    load = Load(View(canonical(snapshot)), settings)
    index = load.view.vm_index(vm.uuid)
    for reason in _cannot_migrate(snapshot, load.view.vms[index], load.paces.leaving(load.view.vms[index])):
        return refused_everywhere(vm, snapshot.hosts, reason)
    return _choose(load, index, leave=True)


def check_move(
    snapshot: Snapshot, vm: Vm, destination: str, settings: PlannerSettings | None = None
) -> tuple[Reason, ...]:
    """Everything that speaks against migrating `vm` to `destination`; empty when it can be done.

    Room that is already reserved for this very move does not count against it. With `settings`, also whether the
    migration would end. Raises KeyError when the snapshot has no such VM or host.
    """
    snapshot = _unreserved(snapshot, vm)
    snapshot.host(destination)
    view = View(snapshot)
    index = view.vm_index(vm.uuid)
    pace = None if settings is None or vm.host is None else Paces(snapshot, settings).between(vm, vm.host, destination)
    against = list(_cannot_migrate(snapshot, view.vms[index], pace))
    if view.vms[index].host == destination:
        return (*against, Reason(CODE_ALREADY_THERE, "is where it runs"))
    return (*against, *registry.reasons(view, view.need(index), view.host_index[destination]))


def check_moves(snapshot: Snapshot, vm: Vm, settings: PlannerSettings | None = None) -> dict[str, tuple[Reason, ...]]:
    """`check_move` for every host of the snapshot, by name."""
    view = View(_unreserved(snapshot, vm))
    index = view.vm_index(vm.uuid)
    pace = None if settings is None else Paces(snapshot, settings).leaving(vm)
    against = _cannot_migrate(snapshot, view.vms[index], pace)
    refusals = registry.refusals(view, view.need(index), np.ones(len(view.hosts), dtype=bool))
    return {view.hosts[host].name: (*against, *reasons) for host, reasons in refusals.items()}


def check_start(seen: Snapshot, vm: Vm, host: str) -> tuple[Reason, ...]:
    """Everything that speaks against starting `vm` on `host`, by a look at that host alone; empty when it can be done.

    Room that is already reserved for this very start does not count against it. Rules that span hosts are judged by
    what is on this one. KeyError when it is not there.
    """
    others = tuple(known for known in seen.vms if known.uuid != vm.uuid)
    home = vm.host if vm.host == host else None
    starting = replace(vm, host=home, state=VmState.STOPPED, destination=None)
    view = View(replace(seen, vms=(*others, starting)))
    return registry.reasons(view, view.need(len(others)), view.host_index[host])


def _choose(load: Load, vm: int, account: Account = EVERYTHING, *, leave: bool = False) -> Placement:
    view = load.view
    need = view.need(vm)
    mask = registry.allowed(view, need)
    if leave:
        mask[need.host] = False
    ranking = _ranking(load, vm, mask, account)
    refused = []
    for host, reasons in registry.refusals(view, need, _nearest(view, need, ~mask, account)).items():
        here = leave and host == need.host
        why = (Reason(CODE_ALREADY_THERE, "is where it runs"),) if here else reasons
        refused.append(Refusal(host=view.hosts[host].name, reasons=why))
    return Placement(
        vm=view.vms[vm].name,
        uuid=view.vms[vm].uuid,
        host=ranking[0].host if ranking else None,
        ranking=ranking,
        refused=tuple(sorted(refused, key=lambda refusal: refusal.host)),
        takers=int(mask.sum()),
        refusers=int((~mask).sum()),
    )


def _ranking(load: Load, vm: int, mask: BoolArray, account: Account) -> tuple[Ranked, ...]:
    parts = scoring.terms(load, vm)
    total = scoring.scores(parts)
    order = scoring.best_first(load, total)
    order = account.of(order[mask[order]], load.view)
    weighted = [np.round(scoring.TERMS[name] * part[order], 6).tolist() for name, part in parts.items()]
    return tuple(
        Ranked(host=load.view.hosts[host].name, score=score, terms=dict(zip(parts, values, strict=True)))
        for host, score, *values in zip(order.tolist(), total[order].tolist(), *weighted, strict=True)
    )


def _nearest(view: View, need: Need, refusing: BoolArray, account: Account) -> BoolArray:
    """Of the `refusing` hosts those to tell of: first those that only lack room, then by free memory."""
    hosts = np.flatnonzero(refusing)
    if account.best is None or len(hosts) <= account.best:
        return refusing
    allowed = registry.static(view, need)[hosts]
    told = np.zeros(len(view.hosts), dtype=bool)
    told[account.of(hosts[np.lexsort((-view.free_memory_mib[hosts], ~allowed))], view)] = True
    return told


def _cannot_migrate(snapshot: Snapshot, vm: Vm, pace: Pace | None) -> tuple[Reason, ...]:
    """What speaks against migrating `vm` at that pace, wherever it goes."""
    if not vm.active or vm.host is None:
        return (Reason(CODE_NOT_RUNNING, "does not run, so there is nothing to migrate"),)
    against: list[Reason] = []
    if vm.quarantine is not None:
        against.append(Reason(obstacle.CODE_QUARANTINE, vm.quarantine))
    source = snapshot.host(vm.host)
    if source.state.value == "unreachable":
        against.append(Reason(CODE_SOURCE_UNREACHABLE, f"the libvirt of {source.name}, where it runs, does not answer"))
    endless = convergence(vm, pace) if pace is not None else None
    return (*against, endless) if endless is not None else tuple(against)


def refused_everywhere(vm: Vm, hosts: Sequence[Host], reason: Reason) -> Placement:
    """No host takes `vm`, all for the same reason."""
    refused = tuple(Refusal(host=name, reasons=(reason,)) for name in sorted(host.name for host in hosts))
    return Placement(vm=vm.name, uuid=vm.uuid, host=None, ranking=(), refused=refused, takers=0, refusers=len(refused))


def _unreserved(snapshot: Snapshot, vm: Vm) -> Snapshot:
    """The snapshot without what is reserved for a migration of `vm` itself."""
    if not any(known.uuid == vm.uuid for known in snapshot.vms):
        raise KeyError(vm.uuid)
    return replace(
        snapshot,
        vms=tuple(replace(known, destination=None) if known.uuid == vm.uuid else known for known in snapshot.vms),
    )
