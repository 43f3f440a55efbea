"""Starts VMs, each on the best host there is: new ones from an XML, and stopped ones wherever they are defined."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from uuid import uuid4
from xml.etree import ElementTree as ET

from ..cluster.model import HostState, Vm, VmState
from ..cluster.observation import DomainFacts
from ..cluster.ports import Definition, HypervisorError, UnreachableError
from ..cluster.reason import Reason
from ..planner.placement import Account, Placement, Placer, check_start, refused_everywhere
from ..planner.room import RoomSearch
from ..planner.settings import PlannerSettings
from . import definition as definitions
from . import patience
from .context import Context
from .definition import ExistingDefinition, NewDefinition, Startable, Step
from .desk import SHOWN_HOSTS, Desk
from .placement_account import Course, Order
from .placement_entry import Entry, Interrupted
from .records import Attempt, PlacementRecord, Trigger
from .rehearsal import Rehearsal

_STARTING = Reason("starting", "is being started already")


class Placements:
    """Placing and starting. `settings` may be replaced."""

    def __init__(self, context: Context, settings: PlannerSettings, desk: Desk | None = None) -> None:
        self.settings = settings
        self._context = context
        self._desk = desk or Desk(context.view, context.gate, context.clock, context.worker)
        self._starting: set[str] = set()
        """UUIDs of VMs whose start is under way, also where no room is reserved at the moment."""
        self._interrupted = Interrupted(context, self._starting)

    async def place(
        self,
        definition: str,
        *,
        host: str | None = None,
        rehearsal: Rehearsal | None = None,
        trigger: Trigger = Trigger.MANUAL,
        requested_by: str = "",
        cycle: str = "",
    ) -> PlacementRecord:
        """Define a new VM from its XML and start it, on `host` or on the best one.

        In a rehearsal it only says where and why, and is not journalled (its id is 0). Raises DefinitionError for an
        XML that cannot be used, JournalError when the journal cannot be written.
        """
        read = self._context.cluster.read_definition(definition)
        uuid = read.uuid or str(uuid4())
        xml = definition if read.uuid else _with_uuid(definition, uuid)
        vm, silent = await self._described(read, uuid)
        order = Order(host=host, rehearsal=rehearsal, trigger=trigger, requested_by=requested_by, cycle=cycle)
        return await self._carry_out(vm, NewDefinition(self._context, uuid, xml), order, silent)

    async def start(
        self,
        vm: str,
        *,
        host: str | None = None,
        rehearsal: Rehearsal | None = None,
        trigger: Trigger = Trigger.MANUAL,
        requested_by: str = "",
        cycle: str = "",
    ) -> PlacementRecord:
        """Start a defined VM (name or UUID), on `host` or on the best one; its definition moves there first.

        Raises KeyError when there is no such VM or the name means several, JournalError as `place` does.
        """
        found = self._context.view.snapshot().vm(vm)
        startable = ExistingDefinition(self._context, found.uuid, found.host or "")
        order = Order(host=host, rehearsal=rehearsal, trigger=trigger, requested_by=requested_by, cycle=cycle)
        return await self._carry_out(found, startable, order)

    async def recover(self) -> None:
        """At start, and when a host came back: put right what a crash has left half-done."""
        await definitions.recover(self._context, self._starting)
        await self._interrupted.settle()

    async def stop(self) -> None:
        """Let go of what is being put right; it stands in the journal for `recover`."""
        await self._interrupted.stop()
        await self._desk.stop()

    async def _carry_out(
        self, vm: Vm, startable: Startable, order: Order, silent: frozenset[str] = frozenset()
    ) -> PlacementRecord:
        entry = Entry(self._context, order)
        if vm.uuid in self._starting:
            course = Course(placement=refused_everywhere(vm, self._context.view.snapshot().hosts, _STARTING), host=None)
        else:
            self._starting.add(vm.uuid)
            try:
                course = await self._start_somewhere(vm, startable, order, entry, silent)
            finally:
                self._starting.discard(vm.uuid)
        record = await entry.end(course)
        self._context.listener(record)
        return record

    async def _start_somewhere(
        self, vm: Vm, startable: Startable, order: Order, entry: Entry, silent: frozenset[str]
    ) -> Course:
        """Try host after host, each chosen on the cluster as it is then; those that were `silent` lately never."""
        first: Placement | None = None
        attempts: list[Attempt] = []
        while True:
            rehearsal = order.rehearsal
            placer, sure = await self._placer(rehearsal, silent)
            # Nothing is awaited from here to the reservation: two placements never take the same room.
            placement, search = _considered(placer, vm, order, startable, attempts)
            host = _choice(placement, startable, order, attempts)
            if host is None:
                trouble = await _put_back(startable) if attempts else ""
                if first is None and search is not None:
                    placement = replace(placement, moves_first=await self._context.worker.run(search.steps))
                return Course(placement=first or placement, host=None, attempts=attempts, trouble=trouble)
            first = first or placement
            if rehearsal is not None:
                rehearsal.start(vm, host)
                return Course(placement=first, host=host)
            self._context.gate.reserve(vm, host)
            self._desk.follow()
            hanging, outdated = await self._looked_at(vm, host, check=not sure)
            if hanging or outdated:
                self._give_up(vm)
                silent |= hanging
                first = None
                continue
            course = Course(placement=first, host=host, attempts=tuple(attempts))
            failure = await self._attempt(vm, startable, host, partial(entry.step, course))
            touched = {host, attempts[-1].host if attempts else vm.host or host}
            attempts.append(Attempt(host=host, error="" if failure is None else failure.text))
            if failure is None:
                return Course(placement=first, host=host, attempts=attempts)
            if isinstance(failure, UnreachableError):
                return Course(placement=first, host=None, attempts=attempts, trouble="it may run there all the same")
            # A look in the middle of the attempt has shown a definition that is gone: it is no namesake, no old one.
            await asyncio.gather(*map(self._context.view.inspect, sorted(touched)))

    async def _placer(self, rehearsal: Rehearsal | None, silent: frozenset[str]) -> tuple[Placer, bool]:
        """Arrays to choose by, in which the `silent` hosts take nothing, and whether they surely miss nothing."""
        if rehearsal is None and not silent:
            return await self._desk.placer(self.settings), not self._desk.kept
        snapshot = patience.without(self._context.view.snapshot(), silent)
        placer = await self._desk.apart(rehearsal.on(snapshot) if rehearsal else snapshot, self.settings)
        for vm, host in self._context.gate.reserved():
            placer.start(vm, host)
        return placer, False

    async def _looked_at(self, vm: Vm, host: str, *, check: bool) -> tuple[frozenset[str], bool]:
        """A fresh look at `host`, where room is reserved, and at the one that has the definition.

        Those that do not answer; and whether `host`, to `check`, cannot take `vm` after all.
        """
        context, looked_at = self._context, {host, vm.host or host}
        try:
            seen = await patience.answers(context.clock, {name: context.view.inspect(name) for name in looked_at})
            outdated = check and host in seen and bool(check_start(seen[host], vm, host))
            return frozenset(looked_at) - seen.keys(), outdated
        except BaseException:
            self._give_up(vm)
            raise

    def _give_up(self, vm: Vm) -> None:
        """Its room is free again, and the desk does not know that."""
        self._context.gate.release(vm.uuid)
        self._desk.forget()

    async def _attempt(self, vm: Vm, startable: Startable, host: str, step: Step) -> HypervisorError | None:
        """Start it on `host`, where its room is reserved; returns what went wrong."""
        gate = self._context.gate
        try:
            await startable.start_on(host, step)
        except UnreachableError as error:
            # Whether it runs is not known: its room stays taken, and it is started nowhere else.
            gate.confirm(vm.uuid)
            return error
        except HypervisorError as error:
            self._give_up(vm)
            return error
        except BaseException:
            self._give_up(vm)
            raise
        gate.confirm(vm.uuid)
        await self._context.view.inspect(host)
        return None

    async def _described(self, read: Definition, uuid: str) -> tuple[Vm, frozenset[str]]:
        """The VM that is not there yet, with what each host's libvirt says of its CPU; and those that say nothing."""
        facts = read.facts
        view = self._context.view
        hosts, known = view.up(), view.cpu_answers(facts)
        questions = {host: self._cpu_lacks(host, facts) for host in hosts if host not in known}
        answers = await patience.answers(self._context.clock, questions) if questions else {}
        silent = questions.keys() - answers.keys()
        vm = Vm(
            name=read.name,
            uuid=uuid,
            vcpus=facts.vcpus,
            memory_mib=facts.memory_mib,
            state=VmState.STOPPED,
            required_cpu_features=facts.required_cpu_features,
            cpu_missing_on={name: missing for name, missing in {**known, **answers}.items() if missing is not None},
            domain_type=facts.virt_type,
            machine_type=facts.machine_type,
            networks=facts.networks,
            storage=facts.storage,
            labels=facts.labels,
        )
        return vm, frozenset(silent)

    async def _cpu_lacks(self, host: str, facts: DomainFacts) -> frozenset[str] | None:
        try:
            return await self._context.view.ask_cpu(host, facts)
        except HypervisorError:
            return None


def _considered(
    placer: Placer, vm: Vm, order: Order, startable: Startable, attempts: Sequence[Attempt]
) -> tuple[Placement, RoomSearch | None]:
    """The hosts that can take `vm`, best first; and, when none can, how moves are found after which one can."""
    hosts, known = placer.load.view.hosts, placer.known(vm)
    if isinstance(startable, NewDefinition) and known is not None:
        return refused_everywhere(vm, hosts, _clash(known, vm)), None
    if vm.host in {host.name for host in hosts if host.state is HostState.UNREACHABLE}:
        text = f"the libvirt of {vm.host}, where it is defined, does not answer"
        return refused_everywhere(vm, hosts, Reason("source_unreachable", text)), None
    current = known if known is not None and known.uuid == vm.uuid else vm
    named = frozenset(host for host in (order.host, startable.bound_to) if host is not None)
    placement = placer.choose(current, Account(best=SHOWN_HOSTS + len(attempts), hosts=named))
    return placement, placer.search(current) if placement.host is None else None


def _choice(placement: Placement, startable: Startable, order: Order, attempts: Sequence[Attempt]) -> str | None:
    """The best host that is left; None when there is none."""
    tried = {attempt.host for attempt in attempts}
    allowed = [ranked.host for ranked in placement.ranking if ranked.host not in tried]
    for only in (order.host, startable.bound_to):
        allowed = [host for host in allowed if only in {None, host}]
    return allowed[0] if allowed else None


def _clash(known: Vm, vm: Vm) -> Reason:
    """A new VM must not take a UUID or a name: two VMs of one name could never share a host."""
    what = "UUID" if vm.uuid == known.uuid else "name"
    return Reason("already_defined", f"a VM of that {what} is on {known.host}: {known.name}", host=known.host)


async def _put_back(startable: Startable) -> str:
    try:
        await startable.put_back()
    except HypervisorError as error:
        return f"its definition could not be put back: {error}"
    return ""


def _with_uuid(xml: str, uuid: str) -> str:
    root = ET.fromstring(xml)  # noqa: S314 - it was read, and found harmless, before
    for empty in root.findall("uuid"):
        root.remove(empty)
    element = ET.SubElement(root, "uuid")
    element.text = uuid
    return ET.tostring(root, encoding="unicode")
