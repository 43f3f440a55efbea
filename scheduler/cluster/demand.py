"""Demand windows: hypervisor counters become rates, rates a recent mean and a high percentile.

Demand is what a VM used plus what it wanted and did not get (`vcpu.N.delay`), so that a VM on a full host is not taken
for a modest one. Counters begin anew with every QEMU process, hence with every migration: a rate is only ever made
from two looks at the same process. A VM's demand is remembered across hosts, its waiting is not: that was the other
host's doing.
"""

from collections import deque
from dataclasses import dataclass, field
from math import ceil, inf

from .observation import DomainObservation, HostObservation
from .settings import WINDOW_S

NANOSECONDS_PER_SECOND = 1e9
MINIMUM_SPACING_S = 0.8
"""Two looks that are closer give a rate that is mostly noise; the later one is passed over."""

LAST_RATE_HOLDS_S = 60.0
DIRTY_RATE_HOLDS_S = 3600.0
"""Sampled rarely, and told until it is this old."""
START_UP_S = 60.0
"""What a guest uses while it boots says nothing of what it will use: it is no part of the high percentile."""
DIRTY_RATES = 2
"""Of so many samples the highest counts: a quiet second does not make a quiet guest."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Cores used and cores waited for between two looks, the later at `at_s`. `waited_cores` None: not told."""

    at_s: float
    elapsed_s: float
    host: str
    used_cores: float
    waited_cores: float | None
    starting: bool = False

    @property
    def demand_cores(self) -> float:
        """Used plus waited for."""
        return self.used_cores + (self.waited_cores or 0.0)


@dataclass(frozen=True, slots=True)
class _Baseline:
    host: str
    domain_id: int
    at_s: float
    cpu_time_ns: int
    delay_ns: int | None


@dataclass(slots=True)
class _VmWindow:
    baseline: _Baseline | None = None
    seen_at_s: float = -inf
    """When it was last seen active, on any host."""
    active_since_s: float = -inf
    rates: deque[Rate] = field(default_factory=deque)
    dirtying: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=DIRTY_RATES))
    """When memory written was sampled, and MiB/s."""
    high: tuple[object, float | None] = (None, None)
    """The high percentile, after what it is of: it changes with the rates only, and is asked for far more often."""


@dataclass(slots=True)
class _HostWindow:
    baseline: tuple[float, int] | None = None
    """When, and busy nanoseconds."""
    rates: deque[Rate] = field(default_factory=deque)


class DemandBook:
    """The demand of every VM and the CPU use of every host over the last `window_s` seconds."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._vms: dict[str, _VmWindow] = {}
        self._hosts: dict[str, _HostWindow] = {}

    def record(self, observation: HostObservation) -> None:
        """Take in one look at one host."""
        self._record_host(observation)
        for domain in observation.domains:
            if not domain.incoming:
                self._record_domain(observation.host, observation.monotonic_s, domain)

    def record_dirtying(self, uuid: str, at_s: float, mib_per_s: float) -> None:
        """Take in a sample of how much memory a VM writes."""
        if uuid in self._vms:
            self._vms[uuid].dirtying.append((at_s, mib_per_s))

    def forget_all_but(self, uuids: set[str]) -> None:
        """Drop the VMs that no longer exist anywhere."""
        for uuid in self._vms.keys() - uuids:
            del self._vms[uuid]

    def demand_cores(self, uuid: str, *, now_s: float, recent_s: float) -> float | None:
        """Mean demand over the last `recent_s` seconds (0: the last rate only). None: no rate that young."""
        return _mean([(rate.demand_cores, weight) for rate, weight in self._recent(uuid, now_s, recent_s)])

    def demand_high_cores(self, uuid: str, *, now_s: float, percentile: float) -> float | None:
        """The `percentile` (0..1) of demand over the whole window but its start, by nearest rank. None: not known."""
        window = self._vms.get(uuid)
        if window is None or not window.rates:
            return None
        start_s = now_s - self._window_s
        first_s = next((rate.at_s for rate in window.rates if rate.at_s > start_s), None)
        if first_s is None and window.rates[-1].at_s <= now_s - LAST_RATE_HOLDS_S:
            return None
        of = percentile, first_s, window.rates[-1].at_s
        if window.high[0] != of:
            since_s = window.rates[-1].at_s if first_s is None else first_s
            demands = sorted(rate.demand_cores for rate in window.rates if rate.at_s >= since_s and not rate.starting)
            window.high = of, demands[max(0, ceil(percentile * len(demands)) - 1)] if demands else None
        return window.high[1]

    def dirty_mib_per_s(self, uuid: str, *, now_s: float) -> float | None:
        """How much memory it writes. None: not known, or not lately."""
        window = self._vms.get(uuid)
        samples = window.dirtying if window is not None else ()
        return max((rate for at_s, rate in samples if now_s - at_s <= DIRTY_RATE_HOLDS_S), default=None)

    def starting(self, uuid: str, *, now_s: float, recent_s: float) -> bool:
        """Whether a VM has been seen running for less than `recent_s`, so that its mean demand is not known yet."""
        window = self._vms.get(uuid)
        return window is not None and now_s - window.active_since_s < recent_s

    def wait_ratio(self, uuid: str, host: str, *, vcpus: int, now_s: float, recent_s: float) -> float | None:
        """Share of time (0..1) its vCPUs were ready but not running on `host`, per vCPU. None: not known there."""
        waited = [
            (rate.waited_cores, weight)
            for rate, weight in self._recent(uuid, now_s, recent_s)
            if rate.host == host and rate.waited_cores is not None
        ]
        mean = _mean(waited)
        return None if mean is None else min(1.0, mean / max(1, vcpus))

    def host_used_cores(self, host: str, *, now_s: float, recent_s: float) -> float | None:
        """Mean CPU use of everything on the host over the last `recent_s` seconds. None: no rate that young."""
        window = self._hosts.get(host)
        rates = _within(window.rates, now_s, recent_s) if window else []
        return _mean([(rate.used_cores, weight) for rate, weight in rates])

    def _recent(self, uuid: str, now_s: float, recent_s: float) -> list[tuple[Rate, float]]:
        window = self._vms.get(uuid)
        return _within(window.rates, now_s, recent_s) if window else []

    def _record_domain(self, host: str, at_s: float, domain: DomainObservation) -> None:
        window = self._vms.setdefault(domain.uuid, _VmWindow())
        if domain.domain_id is None or domain.cpu_time_ns is None:
            if window.baseline is not None and window.baseline.host == host:
                window.baseline, window.seen_at_s = None, -inf
            return
        if at_s - window.seen_at_s > START_UP_S:
            window.active_since_s = at_s
        window.seen_at_s = at_s
        old = window.baseline
        new = _Baseline(host, domain.domain_id, at_s, domain.cpu_time_ns, domain.vcpu_delay_ns)
        if old is None or (old.host, old.domain_id) != (host, domain.domain_id) or new.cpu_time_ns < old.cpu_time_ns:
            window.baseline = new
            return
        elapsed_s = at_s - old.at_s
        if elapsed_s < MINIMUM_SPACING_S:
            return
        used = (new.cpu_time_ns - old.cpu_time_ns) / NANOSECONDS_PER_SECOND / elapsed_s
        waited = None
        if new.delay_ns is not None and old.delay_ns is not None and new.delay_ns >= old.delay_ns:
            waited = (new.delay_ns - old.delay_ns) / NANOSECONDS_PER_SECOND / elapsed_s
        window.baseline = new
        starting = at_s - window.active_since_s < START_UP_S
        _append(window.rates, Rate(at_s, elapsed_s, host, used, waited, starting), self._window_s)

    def _record_host(self, observation: HostObservation) -> None:
        window = self._hosts.setdefault(observation.host, _HostWindow())
        if observation.cpu_busy_ns is None:
            window.baseline = None
            return
        at_s, busy_ns = observation.monotonic_s, observation.cpu_busy_ns
        if window.baseline is None or busy_ns < window.baseline[1]:
            window.baseline = (at_s, busy_ns)
            return
        elapsed_s = at_s - window.baseline[0]
        if elapsed_s < MINIMUM_SPACING_S:
            return
        # In the seconds that the VMs' counters have: on a host that is a guest itself the busy part of its CPUs' time
        # would be a part of something else.
        used = (busy_ns - window.baseline[1]) / NANOSECONDS_PER_SECOND / elapsed_s
        window.baseline = (at_s, busy_ns)
        rate = Rate(at_s, elapsed_s, observation.host, min(used, float(observation.facts.cpus)), None)
        _append(window.rates, rate, self._window_s)


def _append(rates: deque[Rate], rate: Rate, window_s: float) -> None:
    rates.append(rate)
    while rates[0].at_s < rate.at_s - window_s:
        rates.popleft()


def _within(rates: deque[Rate], now_s: float, recent_s: float) -> list[tuple[Rate, float]]:
    """The rates of the last `recent_s` seconds with how many of these each speaks for.

    Where there is none it is the last one, if that is not older than a minute.
    """
    start_s = now_s - recent_s
    found = []
    # From the latest back: recent ones are few among the rates of a whole window.
    for rate in reversed(rates):
        within_s = rate.at_s - start_s
        if within_s <= 0:
            break
        found.append((rate, min(within_s, rate.elapsed_s)))
    if not found and rates and rates[-1].at_s > now_s - LAST_RATE_HOLDS_S:
        found = [(rates[-1], rates[-1].elapsed_s)]
    return found


def _mean(weighted: list[tuple[float, float]]) -> float | None:
    weighed = total = 0.0
    for value, weight in weighted:
        weighed += value * weight
        total += weight
    return weighed / total if total > 0 else None
