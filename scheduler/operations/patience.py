"""Waiting for hosts, but not for long: one that hangs, and is not known to, must not hold up what a person asks for."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ..cluster.model import HostState, Snapshot
from .clock import Clock
from .context import ClusterView

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 4.0
"""A host answers in milliseconds. That it hangs is known for certain after 10 s, when its connection is given up."""


async def answers(clock: Clock, questions: Mapping[str, Coroutine[Any, Any, Answer]]) -> dict[str, Answer]:
    """What came in time, by host; the other questions are given up."""
    tasks = {host: asyncio.ensure_future(question) for host, question in questions.items()}
    all_answered = asyncio.gather(*tasks.values())
    timer = asyncio.ensure_future(clock.sleep(PATIENCE_SECONDS))
    either: set[asyncio.Future[Any]] = {all_answered, timer}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return {host: task.result() for host, task in tasks.items() if task.done()}
    finally:
        for future in either:
            future.cancel()
        await asyncio.gather(*either, *tasks.values(), return_exceptions=True)


async def silent(clock: Clock, view: ClusterView, hosts: Collection[str]) -> frozenset[str]:
    """Those of `hosts` that do not answer a fresh look in time."""
    return frozenset(hosts) - (await answers(clock, {host: view.inspect(host) for host in hosts})).keys()


def without(snapshot: Snapshot, hosts: Collection[str]) -> Snapshot:
    """The snapshot with these hosts unreachable, as they soon will be."""
    return replace(
        snapshot,
        hosts=tuple(
            replace(host, state=HostState.UNREACHABLE) if host.name in hosts else host for host in snapshot.hosts
        ),
    )
