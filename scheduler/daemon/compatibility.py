"""Which host can run which guest CPU, by the hosts' own answers, asked once for each kind of guest CPU and host."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import structlog

from ..cluster.observation import DomainFacts
from ..cluster.ports import HypervisorCluster, HypervisorError
from .waiting import end

log = structlog.get_logger(__name__)

GuestCpu = tuple[str | None, str, str, str | None, str | None]
"""What an answer depends on: CPU element, virtualisation type, architecture, machine type, emulator."""

NEW_KINDS_KEPT: Final = 64
"""Kinds of guest CPU that VMs to be placed asked for, the latest ones: a template is used many times."""


class CpuCompatibility:
    """A cache of `compare_cpu`, per host until that host's connection is made anew.

    `changed` is called when an answer has come or was forgotten.
    """

    def __init__(self, cluster: HypervisorCluster, changed: Callable[[], None]) -> None:
        self._cluster = cluster
        self._changed = changed
        self._answers: dict[GuestCpu, dict[str, frozenset[str] | None]] = {}
        """By kind of guest CPU and host; None: that host cannot tell."""
        self._asking: dict[tuple[str, GuestCpu], asyncio.Task[None]] = {}
        self._verdicts: dict[GuestCpu, dict[str, frozenset[str]]] = {}
        self._new: OrderedDict[GuestCpu, dict[str, frozenset[str] | None]] = OrderedDict()
        """Like `_answers`, of VMs that are yet to be."""
        self._times_forgotten = 0

    def verdicts(self, facts: DomainFacts) -> Mapping[str, frozenset[str]]:
        """What is known: host -> missing features. Hosts that were not asked yet or cannot tell are absent."""
        if facts.cpu_xml is None:
            return {}
        key = _kind(facts)
        if key not in self._verdicts:
            answers = self._answers.get(key, {})
            self._verdicts[key] = {host: missing for host, missing in answers.items() if missing is not None}
        return self._verdicts[key]

    def answers(self, facts: DomainFacts) -> Mapping[str, frozenset[str] | None]:
        """What hosts have answered `answer` about that guest CPU: missing features; None: that host cannot tell."""
        key = _kind(facts)
        self._new.setdefault(key, {})
        self._new.move_to_end(key)
        if len(self._new) > NEW_KINDS_KEPT:
            self._new.popitem(last=False)
        return self._new[key]

    async def answer(self, host: str, facts: DomainFacts) -> frozenset[str] | None:
        """Ask one host about the CPU of a VM that is yet to be. HypervisorError: it does not answer."""
        before = self._times_forgotten
        missing = (await self._cluster.compare_cpu(host, facts)).lacks
        known = self._new.get(_kind(facts))
        if known is not None and before == self._times_forgotten:
            known[host] = missing
        return missing

    async def ask(self, hosts: Collection[str], kinds: Mapping[GuestCpu, DomainFacts]) -> None:
        """Ask these hosts about every kind of guest CPU they have not answered yet; returns when they have."""
        for key, facts in kinds.items():
            for host in hosts:
                if host not in self._answers.get(key, {}) and (host, key) not in self._asking:
                    self._begin(host, key, facts)
        # Other hosts may take their time.
        waiting = [task for (host, key), task in self._asking.items() if host in hosts and key in kinds]
        if waiting:
            await asyncio.wait(waiting)

    def forget(self, host: str) -> None:
        """The host came back or went away: it may have another CPU, kernel or QEMU now."""
        for (asked, _), task in self._asking.items():
            if asked == host:
                task.cancel()
        self._asking = {key: task for key, task in self._asking.items() if key[0] != host}
        for answers in (*self._answers.values(), *self._new.values()):
            answers.pop(host, None)
        self._times_forgotten += 1
        self._verdicts.clear()
        self._changed()

    def forget_all_but(self, kinds: Mapping[GuestCpu, DomainFacts]) -> None:
        """Drop the answers about guest CPUs that no VM has any more."""
        for key in self._answers.keys() - kinds.keys():
            del self._answers[key]
        for key in self._verdicts.keys() - kinds.keys():
            del self._verdicts[key]

    async def close(self) -> None:
        """End what is being asked."""
        await end(*self._asking.values())

    def _begin(self, host: str, key: GuestCpu, facts: DomainFacts) -> None:
        task = asyncio.create_task(self._ask(host, key, facts), name=f"cpu-question-{host}")
        self._asking[host, key] = task
        task.add_done_callback(lambda done: self._asked(host, key, done))

    def _asked(self, host: str, key: GuestCpu, task: asyncio.Task[None]) -> None:
        if self._asking.get((host, key)) is task:
            del self._asking[host, key]

    async def _ask(self, host: str, key: GuestCpu, facts: DomainFacts) -> None:
        try:
            missing = (await self._cluster.compare_cpu(host, facts)).lacks
        except HypervisorError:
            # Not an answer: asked again at the next look.
            return
        except Exception:
            log.exception("a host's answer about a guest CPU could not be read", host=host)
            missing = None
        self._answers.setdefault(key, {})[host] = missing
        self._verdicts.pop(key, None)
        self._changed()


def kinds_of(guests: Iterable[DomainFacts]) -> dict[GuestCpu, DomainFacts]:
    """The kinds of guest CPU among these, each with one that has it; those that name no CPU run anywhere."""
    return {_kind(facts): facts for facts in guests if facts.cpu_xml is not None}


def _kind(facts: DomainFacts) -> GuestCpu:
    return (facts.cpu_xml, facts.virt_type, facts.arch, facts.machine_type, facts.emulator)
