"""Which host can run which guest CPU, by the hosts' own answers, asked once for each kind of guest CPU and host."""

import asyncio
from collections.abc import Callable, Iterable

from ..cluster.observation import DomainFacts
from ..cluster.ports import HypervisorCluster, HypervisorError

GuestCpu = tuple[str, str, str, str | None, str | None]
"""What an answer depends on: CPU element, virtualisation type, architecture, machine type, emulator."""


class CpuCompatibility:
    """A cache of `missing_cpu_features`, per host until that host's connection is made anew."""

    def __init__(self, cluster: HypervisorCluster, changed: Callable[[], None]) -> None:
        self._cluster = cluster
        self._changed = changed
        self._answers: dict[str, dict[GuestCpu, frozenset[str] | None]] = {}
        self._asking: dict[tuple[str, GuestCpu], asyncio.Task[None]] = {}

    def verdicts(self, facts: DomainFacts) -> dict[str, frozenset[str]]:
        """What is known: host -> missing features. Hosts that were not asked yet or cannot tell are absent."""
        key = _guest_cpu(facts)
        found = {host: answers.get(key) for host, answers in self._answers.items()} if key else {}
        return {host: missing for host, missing in found.items() if missing is not None}

    async def ask(self, hosts: Iterable[str], guests: Iterable[DomainFacts]) -> None:
        """Ask every host about every kind of guest CPU it has not answered yet; returns when all have."""
        kinds = {key: facts for facts in guests if (key := _guest_cpu(facts)) is not None}
        for host in hosts:
            for key, facts in kinds.items():
                if key not in self._answers.get(host, {}) and (host, key) not in self._asking:
                    self._asking[host, key] = asyncio.create_task(self._ask(host, key, facts))
        waiting = [task for (host, key), task in self._asking.items() if key in kinds]
        if waiting:
            await asyncio.gather(*waiting, return_exceptions=True)

    def forget(self, host: str) -> None:
        """The host came back or went away: it may have another CPU, kernel or QEMU now."""
        self._answers.pop(host, None)

    def forget_all_but(self, guests: Iterable[DomainFacts]) -> None:
        """Drop the answers about guest CPUs that no VM has any more."""
        kinds = {_guest_cpu(facts) for facts in guests}
        for answers in self._answers.values():
            for key in answers.keys() - kinds:
                del answers[key]

    async def close(self) -> None:
        """End what is being asked."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, host: str, key: GuestCpu, facts: DomainFacts) -> None:
        try:
            missing = await self._cluster.missing_cpu_features(host, facts)
        except HypervisorError:
            # Not an answer: asked again at the next look.
            return
        finally:
            del self._asking[host, key]
        self._answers.setdefault(host, {})[key] = missing
        self._changed()


def _guest_cpu(facts: DomainFacts) -> GuestCpu | None:
    if facts.cpu_xml is None:
        return None
    return (facts.cpu_xml, facts.virt_type, facts.arch, facts.machine_type, facts.emulator)
