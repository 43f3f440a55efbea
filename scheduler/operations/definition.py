"""Where the definition of a VM that is being started lies, and moving it so that there is never none."""

from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from ..cluster.model import VmState
from ..cluster.ports import HypervisorError, UnreachableError
from .context import Context
from .journal import DefinitionMove, JournalError
from .records import PlacementOutcome

Step = Callable[[PlacementOutcome], Awaitable[None]]
"""Journals what is about to be done, `DEFINING` or `STARTING`; JournalError when it must not be done."""


class Startable(Protocol):
    """A VM that is to be started, on one host or, when that fails, on another."""

    @property
    def bound_to(self) -> str | None:
        """The only host on which it can be started, once that is known."""

    async def start_on(self, host: str, step: Step) -> None:
        """Define it there as needed and start it; HypervisorError or JournalError when it does not run."""

    async def put_back(self) -> None:
        """It was started nowhere: leave its definition where it was at first."""


class NewDefinition:
    """A VM that is defined nowhere yet; its XML names its UUID."""

    bound_to: str | None = None

    def __init__(self, context: Context, uuid: str, xml: str) -> None:
        self._cluster = context.cluster
        self._uuid = uuid
        self._xml = xml

    async def start_on(self, host: str, step: Step) -> None:
        """See Startable."""
        await step(PlacementOutcome.DEFINING)
        await self._cluster.define(host, self._xml)
        try:
            await step(PlacementOutcome.STARTING)
            await self._cluster.start(host, self._uuid)
        except UnreachableError:
            # It may run there all the same: without its definition a running VM would become transient.
            raise
        except (HypervisorError, JournalError):
            await self._cluster.undefine(host, self._uuid)
            raise

    async def put_back(self) -> None:
        """See Startable; a failed start has left nothing."""


class ExistingDefinition:
    """A stopped VM that is defined on `home`.

    A move defines on the new host first and then undefines on the old one, journalled around both: whatever breaks in
    the middle, there are two definitions at worst, and `recover` makes them one.
    """

    def __init__(self, context: Context, uuid: str, home: str) -> None:
        self.bound_to: str | None = None
        self._context = context
        self._uuid = uuid
        self._home = home
        self._at = home

    async def start_on(self, host: str, step: Step) -> None:
        """See Startable."""
        await step(PlacementOutcome.STARTING)
        if host != self._at:
            await self._move(host)
        await self._context.cluster.start(host, self._uuid)

    async def put_back(self) -> None:
        """See Startable."""
        if self._at != self._home:
            await self._move(self._home)

    async def _move(self, host: str) -> None:
        cluster, journal = self._context.cluster, self._context.journal
        here = await cluster.domain(self._at, self._uuid)
        xml = await cluster.domain_xml(self._at, self._uuid)
        await journal.begin_definition_move(DefinitionMove(self._uuid, self._at, host))
        await cluster.define(host, xml)
        if here is not None and here.autostart:
            await cluster.set_autostart(host, self._uuid, autostart=True)
        try:
            await cluster.undefine(self._at, self._uuid)
        except UnreachableError:
            raise
        except HypervisorError:
            # A saved state, a snapshot: it belongs to the host where it lies.
            self.bound_to = self._at
            await cluster.undefine(host, self._uuid)
            await journal.end_definition_move(self._uuid)
            raise
        self._at = host
        await journal.end_definition_move(self._uuid)


async def recover(context: Context, under_way: Collection[str] = ()) -> None:
    """Finish or undo definition moves that were interrupted, save those of the VMs `under_way`.

    Those of hosts that do not answer are left for later.
    """
    for move in await context.journal.definition_moves():
        if move.uuid in under_way:
            continue
        try:
            await _make_one(context, move)
        except HypervisorError:
            continue
        await context.journal.end_definition_move(move.uuid)


async def _make_one(context: Context, move: DefinitionMove) -> None:
    """Leave the definition where the VM runs, or else where it came from."""
    old = await context.cluster.domain(move.source, move.uuid)
    new = await context.cluster.domain(move.destination, move.uuid)
    if old is None or new is None:
        return
    if new.state is VmState.STOPPED:
        await context.cluster.undefine(move.destination, move.uuid)
    elif old.state is VmState.STOPPED:
        await context.cluster.undefine(move.source, move.uuid)
