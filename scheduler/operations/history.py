"""What was moved lately, and how long that speaks against moving it again. Times are those of the caller's clock."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ..cluster.reason import Reason
from .records import Trigger
from .settings import Limits

DAY_SECONDS = 86_400.0
HOUR_SECONDS = 3_600.0

BY_HAND = frozenset({Trigger.MANUAL, Trigger.ADOPTED})
BUDGETED = frozenset({Trigger.BALANCE, Trigger.RECOMMENDATION})


@dataclass(frozen=True, slots=True)
class Move:
    """A migration that ended."""

    uuid: str
    source: str
    destination: str
    at: float
    trigger: Trigger
    success: bool


class MoveHistory:
    """Moves of the last days, oldest first, and the rules that look back at them."""

    def __init__(self) -> None:
        self._of_vm: dict[str, list[Move]] = defaultdict(list)
        self._failures_of_pair: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, move: Move) -> None:
        """Remember a move; none may be older than the one before it."""
        moves = self._of_vm[move.uuid]
        moves[:] = [*(old for old in moves if old.at > move.at - DAY_SECONDS), move]
        if move.success:
            self._failures_of_pair.pop((move.source, move.destination), None)
        else:
            self._failures_of_pair[move.source, move.destination].append(move.at)

    def vms(self) -> set[str]:
        """UUIDs of the VMs of which moves are remembered."""
        return set(self._of_vm)

    def failing_sources(self) -> set[str]:
        """Hosts from which the last migration to some other one failed."""
        return {source for source, _ in self._failures_of_pair}

    def cooldown(self, uuid: str, now: float, limits: Limits) -> Reason | None:
        """Moved by the daemon: left alone, twice as long for each further move within a day."""
        moves = [move for move in self._moved(uuid) if move.trigger not in BY_HAND and move.at > now - DAY_SECONDS]
        if not moves:
            return None
        wait_s = min(_doubled(limits.cooldown_seconds, len(moves) - 1), limits.max_cooldown_seconds)
        left_s = moves[-1].at + wait_s - now
        if left_s <= 0:
            return None
        times = "was moved" if len(moves) == 1 else f"was moved {len(moves)} times in a day"
        return Reason("cooldown", f"{times}, is left alone for {span(left_s)}", left_seconds=left_s)

    def manual_hold(self, uuid: str, now: float, limits: Limits) -> Reason | None:
        """Moved by a person: stays where the person put it, for a while."""
        moves = self._moved(uuid)
        left_s = moves[-1].at + limits.manual_move_hold_seconds - now if moves else 0.0
        if left_s <= 0 or moves[-1].trigger not in BY_HAND:
            return None
        where = moves[-1].destination
        return Reason("manual_move", f"a person moved it to {where}, it stays for {span(left_s)}", left_seconds=left_s)

    def turned_down(self, uuid: str, destination: str, now: float, limits: Limits) -> Reason | None:
        """Taken away from there by a person, or kept from going there: for a while that is not proposed."""
        hold = self.manual_hold(uuid, now, limits)
        return hold if hold is not None and self._moved(uuid)[-1].source == destination else None

    def reverse_ban(self, uuid: str, destination: str, now: float, limits: Limits) -> Reason | None:
        """No way back to where it came from. A drained host may get its VMs back: no balancing sent them away."""
        left = [move.at for move in self._moved(uuid) if move.source == destination and move.trigger != Trigger.DRAIN]
        left_s = max(left) + limits.reverse_ban_seconds - now if left else 0.0
        if left_s <= 0:
            return None
        return Reason("reverse_move", f"came from {destination}, not back for {span(left_s)}", left_seconds=left_s)

    def vm_backoff(self, uuid: str, now: float, limits: Limits) -> Reason | None:
        """Its last migrations failed."""
        failures: list[float] = []
        for move in self._of_vm.get(uuid, ()):
            failures = [] if move.success else [*failures, move.at]
        return _backoff("its last migration failed", failures, now, limits)

    def pair_backoff(self, source: str, destination: str, now: float, limits: Limits) -> Reason | None:
        """The last migrations from one host to the other failed."""
        failures = self._failures_of_pair.get((source, destination), [])
        return _backoff(f"the last migration from {source} to {destination} failed", failures, now, limits)

    def closed_hosts(self, uuid: str, source: str, now: float, limits: Limits) -> dict[str, str]:
        """Hosts to which a VM on `source` is not moved automatically for now, and why."""
        came_from = {move.source for move in self._moved(uuid)}
        failing = {destination for origin, destination in self._failures_of_pair if origin == source}
        reasons = {
            host: self.reverse_ban(uuid, host, now, limits) or self.pair_backoff(source, host, now, limits)
            for host in came_from | failing
        }
        return {host: reason.text for host, reason in reasons.items() if reason is not None}

    def budgeted(self, now: float) -> int:
        """Moves of the last hour that count against the hour's budget."""
        return sum(
            move.success and move.trigger in BUDGETED and move.at > now - HOUR_SECONDS
            for moves in self._of_vm.values()
            for move in moves
        )

    def _moved(self, uuid: str) -> list[Move]:
        return [move for move in self._of_vm.get(uuid, ()) if move.success]


def span(seconds: float) -> str:
    """A length of time for people: `45 s`, `12 min`, `5.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def texts(reasons: Iterable[Reason]) -> str:
    """Several reasons in one line."""
    return "; ".join(reason.text for reason in reasons)


def advice(reasons: Iterable[Reason]) -> str:
    """Several reasons in one line, each with what would make it possible."""
    return "; ".join(f"{reason.text} ({reason.remedy})" if reason.remedy else reason.text for reason in reasons)


def _backoff(text: str, failures: list[float], now: float, limits: Limits) -> Reason | None:
    if not failures:
        return None
    wait_s = min(_doubled(limits.failure_backoff_seconds, len(failures) - 1), limits.max_cooldown_seconds)
    left_s = failures[-1] + wait_s - now
    if left_s <= 0:
        return None
    return Reason("failure_backoff", f"{text}, tried again in {span(left_s)}", left_seconds=left_s)


def _doubled(seconds: float, times: int) -> float:
    # 2**times overflows a float after a thousand failures in a row.
    return seconds * 2.0 ** min(times, 40)
