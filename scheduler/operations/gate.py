"""The gate: what may be done now. Slots, budgets, cooldown, back-off and rooms reserved for what is on its way.

Bookkeeping only: it waits for nothing and touches no host. Its memory is rebuilt from the journal at start.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from ..cluster.model import Snapshot, Vm, VmState
from ..cluster.reason import Reason
from .clock import Clock
from .history import BUDGETED, Move, MoveHistory, span
from .records import Trigger
from .settings import Limits

CONFIRMED_SECONDS = 60.0
"""How long a started VM keeps its reservation when no observation shows it there (it stopped at once)."""

SMALL_CLUSTER_RATIO = 0.1
"""The part of all VMs that an hour's budget never exceeds for its least's sake."""

PERSONAL = frozenset({Trigger.MANUAL, Trigger.RECOMMENDATION, Trigger.ADOPTED})
"""What a person decided: bound by nothing but the slots."""


@dataclass(slots=True)
class _Reservation:
    vm: Vm
    host: str
    confirmed_at_s: float | None = None


@dataclass(slots=True)
class _Booking:
    source: str
    destination: str
    trigger: Trigger
    began: bool = False


class Gate:
    """Everything that acts passes here.

    `mode_hold` says why a VM's own mode forbids automatic moves, or None; it is None itself when no VM's does.
    """

    def __init__(self, limits: Limits, clock: Clock, mode_hold: Callable[[Vm], str | None] | None = None) -> None:
        self.limits = limits
        self.mode_hold = mode_hold
        self.leaving: Collection[str] = ()
        """Hosts that are about to be let go: nothing begins there, from there or to there."""
        self._clock = clock
        self._opened_at_s = clock.monotonic()
        self._history = MoveHistory()
        self._reservations: dict[str, _Reservation] = {}
        self._bookings: dict[str, _Booking] = {}

    def restore(self, moves: Iterable[Move]) -> None:
        """Remember moves of before the start, oldest first; their `at` is in Unix seconds."""
        now_s, wall_s = self._clock.monotonic(), self._clock.wall()
        for move in moves:
            # A wall clock that was wrong then must not put a move into the future, where it would hold the VM for long.
            self._history.add(replace(move, at=now_s - max(wall_s - move.at, 0.0)))

    def overlay(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot as it will be when all that is under way has happened.

        A VM that is being started is active on its host, one that is asked to migrate has its `destination`, one that
        balancing must leave alone has its `hold`, or in `not_to` the hosts where it must not go. Reservations that the
        snapshot shows fulfilled end here.
        """
        self._drop_fulfilled(snapshot)
        hosts = {host.name for host in snapshot.hosts}
        # Of thousands of VMs it concerns a few, and asking after each takes long.
        concerned = self._reservations.keys() | self._bookings.keys() | self._history.vms()
        failing, any_vm = self._history.failing_sources(), self.mode_hold is not None
        vms = [
            self._overlaid(vm, hosts) if any_vm or vm.uuid in concerned or vm.host in failing else vm
            for vm in snapshot.vms
        ]
        known = {vm.uuid for vm in vms if vm.uuid in self._reservations}
        coming = [
            _started(kept.vm, kept.host)
            for uuid, kept in self._reservations.items()
            if uuid not in known and kept.host in hosts
        ]
        return replace(snapshot, vms=(*vms, *coming))

    def reserve(self, vm: Vm, host: str) -> None:
        """Keep the room of a VM that is about to start on `host`."""
        self._reservations[vm.uuid] = _Reservation(vm, host)

    def confirm(self, uuid: str) -> None:
        """It was started: its room is kept until an observation shows it."""
        if uuid in self._reservations:
            self._reservations[uuid].confirmed_at_s = self._clock.monotonic()

    def release(self, uuid: str) -> None:
        """It was not started."""
        self._reservations.pop(uuid, None)

    def admit(
        self, uuid: str, source: str, destination: str, trigger: Trigger, *, vms_total: int
    ) -> tuple[Reason, ...]:
        """Why this migration may not be asked for now; empty when it may.

        `vms_total` is the number of VMs that the hourly ratio is of. People, drains and rules wait for a free slot;
        balancing is refused instead, for its next plan will know better.
        """
        if uuid in self._bookings:
            destination = self._bookings[uuid].destination
            return (Reason("already_migrating", f"is on its way to {destination}", destination=destination),)
        if uuid in self._reservations:
            host = self._reservations[uuid].host
            return (Reason("starting", f"is being started on {host}", host=host),)
        for host in (source, destination):
            if host in self.leaving:
                return (Reason("host_leaves", f"{host} was taken out of the config", host=host),)
        if trigger in PERSONAL:
            return ()
        now_s, limits, history = self._clock.monotonic(), self.limits, self._history
        found = [
            history.vm_backoff(uuid, now_s, limits),
            history.pair_backoff(source, destination, now_s, limits),
        ]
        if trigger is Trigger.BALANCE:
            found += [
                self._warming_up(now_s),
                history.cooldown(uuid, now_s, limits),
                history.manual_hold(uuid, now_s, limits),
                history.reverse_ban(uuid, destination, now_s, limits),
                self._over_budget(now_s, vms_total),
                self._no_slot(source, destination),
            ]
        return tuple(reason for reason in found if reason is not None)

    def turned_down(self, uuid: str, destination: str) -> Reason | None:
        """Why this move is not to be recommended, whatever speaks for it: a person has said no to it; or None."""
        return self._history.turned_down(uuid, destination, self._clock.monotonic(), self.limits)

    def book(self, uuid: str, source: str, destination: str, trigger: Trigger) -> None:
        """Count a migration that was just admitted; it waits for its slots.

        Nothing may be awaited between `admit` and this, or two could be admitted for the last room.
        """
        self._bookings[uuid] = _Booking(source, destination, trigger)

    def begin(self, uuid: str) -> bool:
        """Take the slots of a booked migration; False when one of its hosts has none free."""
        booking = self._bookings[uuid]
        if not booking.began and self._no_slot(booking.source, booking.destination) is None:
            booking.began = True
        return booking.began

    def adopt(self, uuid: str, source: str, destination: str, trigger: Trigger) -> None:
        """Count a migration that runs already, whether there was a slot for it or not."""
        self._bookings[uuid] = _Booking(source, destination, trigger, began=True)

    def end(self, uuid: str) -> None:
        """Give back the slots and the room of a migration, however it ended."""
        self._bookings.pop(uuid, None)

    def record_move(self, move: Move) -> None:
        """Remember a migration that has just ended; its `at` is taken to be now."""
        self._history.add(replace(move, at=self._clock.monotonic()))

    def note_manual_move(self, uuid: str, source: str, destination: str) -> None:
        """Somebody moved a VM without asking us: it stays where it was put for a while."""
        self.record_move(Move(uuid, source, destination, 0.0, Trigger.ADOPTED, success=True))

    def reserved(self) -> list[tuple[Vm, str]]:
        """VMs that are being started, each with its host."""
        return [(kept.vm, kept.host) for kept in self._reservations.values()]

    def booked(self) -> list[tuple[str, str]]:
        """UUIDs of VMs that are being migrated or are about to be, each with its destination."""
        return [(uuid, booking.destination) for uuid, booking in self._bookings.items()]

    def busy(self, uuid: str) -> bool:
        """Whether the VM is being started or moved, or is about to be."""
        return uuid in self._bookings or uuid in self._reservations

    def occupied(self, host: str) -> bool:
        """Whether something is under way on a host, or about to be."""
        return any(kept.host == host for kept in self._reservations.values()) or any(
            host in (booking.source, booking.destination) for booking in self._bookings.values()
        )

    def slots(self, host: str) -> tuple[int, int]:
        """Migrations under way to and from a host."""
        began = [booking for booking in self._bookings.values() if booking.began]
        inbound = sum(booking.destination == host for booking in began)
        return inbound, sum(booking.source == host for booking in began)

    def hold(self, vm: Vm) -> str | None:
        """Why automatic moves must leave this VM alone wherever they would put it; None when they need not."""
        if self.mode_hold is not None and (mode := self.mode_hold(vm)):
            return mode
        now_s = self._clock.monotonic()
        rules = (self._history.manual_hold, self._history.cooldown, self._history.vm_backoff)
        return next((reason.text for rule in rules if (reason := rule(vm.uuid, now_s, self.limits))), None)

    def _overlaid(self, vm: Vm, hosts: Collection[str]) -> Vm:
        kept = self._reservations.get(vm.uuid)
        if kept is not None and not vm.active and kept.host in hosts:
            return _started(vm, kept.host)
        booking = self._bookings.get(vm.uuid)
        # A host that was taken out of the config while it was being migrated to is no host of the snapshot.
        on_its_way = booking is not None and booking.source == vm.host and booking.destination in hosts
        destination = booking.destination if booking is not None and on_its_way else vm.destination
        hold = vm.hold or self.hold(vm)
        not_to = self._history.closed_hosts(vm.uuid, vm.host or "", self._clock.monotonic(), self.limits)
        if (destination, hold, not_to) == (vm.destination, vm.hold, vm.not_to):
            return vm  # as most are: copying thousands for nothing takes long
        return replace(vm, destination=destination, hold=hold, not_to=not_to)

    def _drop_fulfilled(self, snapshot: Snapshot) -> None:
        now_s = self._clock.monotonic()
        if not self._reservations:
            return
        active = {vm.uuid for vm in snapshot.vms if vm.uuid in self._reservations and vm.active}
        for uuid, kept in list(self._reservations.items()):
            overdue = kept.confirmed_at_s is not None and now_s - kept.confirmed_at_s > CONFIRMED_SECONDS
            if overdue or (uuid in active and kept.confirmed_at_s is not None):
                del self._reservations[uuid]

    def _warming_up(self, now_s: float) -> Reason | None:
        left_s = self._opened_at_s + self.limits.warm_up_seconds - now_s
        if left_s <= 0:
            return None
        return Reason("warm_up", f"the daemon has just started, it balances in {span(left_s)}", left_seconds=left_s)

    def _over_budget(self, now_s: float, vms_total: int) -> Reason | None:
        under_way = sum(booking.trigger in BUDGETED for booking in self._bookings.values())
        moved = self._history.budgeted(now_s) + under_way
        least = min(self.limits.min_moves_per_hour, int(SMALL_CLUSTER_RATIO * vms_total))
        budget = max(int(self.limits.max_moved_ratio_per_hour * vms_total), least, 1)
        if moved < budget:
            return None
        text = f"{moved} of {budget} moves that balancing may make in an hour are used up"
        return Reason("hourly_budget", text, moved=moved, budget=budget)

    def _no_slot(self, source: str, destination: str) -> Reason | None:
        inbound, outbound = self.slots(destination)[0], self.slots(source)[1]
        if inbound >= self.limits.max_inbound:
            return Reason("no_slot", f"{destination} receives {inbound} already", host=destination, inbound=inbound)
        if outbound >= self.limits.max_outbound:
            return Reason("no_slot", f"{source} sends {outbound} already", host=source, outbound=outbound)
        return None


def _started(vm: Vm, host: str) -> Vm:
    return replace(vm, host=host, state=VmState.RUNNING)
