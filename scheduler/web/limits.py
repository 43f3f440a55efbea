"""What one caller can take of the daemon: how many calls, how large, how slow."""

import time
from collections.abc import Callable
from dataclasses import dataclass

_KEPT = 1024
"""So many keys are remembered before those that have waited long enough are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimits:
    """What the API holds every caller to."""

    body_bytes: int = 2 * 1024 * 1024
    """Room for dozens of domain definitions in one request."""
    body_seconds: float = 30.0
    """From a request's headers to the end of its body."""
    calls_per_second: float = 50.0
    """Of one caller, in the long run."""
    calls_at_once: int = 200
    """As many may come without a pause before that."""
    streams: int = 16
    """Event streams of one caller at the same time."""
    failed_logins_per_second: float = 0.5
    failed_logins_at_once: int = 10
    """Of one address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What a listener holds every connection to, whoever is at its other end."""

    connections: int = 256
    """On one listener at the same time."""
    idle_seconds: float = 30.0
    """Until a request's headers are whole, from the connection or from the answer before."""
    handshake_seconds: float = 10.0
    unread_seconds: float = 30.0
    """Until a TCP connection is dropped whose other end does not take what is sent."""


class Pace:
    """Lets each key through so often, and at first so many times in a row (the generic cell rate algorithm)."""

    def __init__(self, per_second: float, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = 1 / per_second
        self._ahead_s = (at_once - 1) / per_second
        self._clock = clock
        self._due_s: dict[str, float] = {}
        """When a key that came at an even pace would come next."""

    def wait_seconds(self, key: str) -> float:
        """How long `key` has to wait now; 0 when it may come."""
        now_s = self._clock()
        return max(0.0, self._due_s.get(key, now_s) - now_s - self._ahead_s)

    def take(self, key: str) -> None:
        """`key` has come."""
        now_s = self._clock()
        if len(self._due_s) >= _KEPT:
            self._due_s = {known: due_s for known, due_s in self._due_s.items() if due_s > now_s}
        self._due_s[key] = max(now_s, self._due_s.get(key, now_s)) + self._interval_s
