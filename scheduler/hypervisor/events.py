"""libvirt's events: from callbacks in the pump's thread to `cluster.observation.Event`.

Callbacks only read plain values from their arguments and hand over a `RawEvent`; everything else happens on the
asyncio loop.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..cluster.observation import EventKind
from .binding import Connection, Domain, LibvirtError, libvirt


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One callback's arguments. `event` is the id it was registered for, `values` what follows the domain."""

    event: int
    uuid: str
    name: str
    values: tuple[int | str, ...] = ()
    stats: Mapping[str, int | float | str] | None = None


_CHANGES = {
    libvirt.VIR_DOMAIN_EVENT_ID_REBOOT: "rebooted",
    libvirt.VIR_DOMAIN_EVENT_ID_CONTROL_ERROR: "control of QEMU lost",
    libvirt.VIR_DOMAIN_EVENT_ID_TRAY_CHANGE: "removable medium",
    libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE: "balloon",
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED: "device removed",
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED: "device added",
    libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE: "tunable",
    libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE: "metadata",
    libvirt.VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE: "memory device",
}
"""Events that say no more than: look again."""

REGISTERED = (
    libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
    libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION,
    libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED,
    *_CHANGES,
)

_DETAILS: dict[int, tuple[str, ...]] = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: ("added", "updated", "renamed", "from snapshot"),
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: ("removed", "renamed"),
    libvirt.VIR_DOMAIN_EVENT_STARTED: ("booted", "migrated", "restored", "from snapshot", "woken up"),
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: (
        "paused",
        "migrating",
        "I/O error",
        "watchdog",
        "restored",
        "from snapshot",
        "API error",
        "post-copy",
        "post-copy failed",
    ),
    libvirt.VIR_DOMAIN_EVENT_RESUMED: ("unpaused", "migrated", "from snapshot", "post-copy", "post-copy failed"),
    libvirt.VIR_DOMAIN_EVENT_STOPPED: (
        "shut down",
        "destroyed",
        "crashed",
        "migrated",
        "saved",
        "failed",
        "from snapshot",
        "recorded",
    ),
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: ("suspended to memory", "suspended to disk"),
    libvirt.VIR_DOMAIN_EVENT_CRASHED: ("panicked", "crash kernel loaded"),
}
"""libvirt numbers the details of each event from 0."""

_KINDS = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: EventKind.DEFINED,
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: EventKind.UNDEFINED,
    libvirt.VIR_DOMAIN_EVENT_STARTED: EventKind.STARTED,
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: EventKind.SUSPENDED,
    libvirt.VIR_DOMAIN_EVENT_RESUMED: EventKind.RESUMED,
    libvirt.VIR_DOMAIN_EVENT_STOPPED: EventKind.STOPPED,
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: EventKind.SUSPENDED,
    libvirt.VIR_DOMAIN_EVENT_CRASHED: EventKind.CRASHED,
}

_DEATHS = (libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED)
"""How a domain ends whose QEMU went without being asked."""


class Translator:
    """Gives raw events of one connection their meaning.

    libvirt tells a migration's arrival and a failed migration's resumption on the source alike (RESUMED, migrated),
    and a crash and an incoming migration given up alike (STOPPED, failed): what is on its way in has to be remembered.
    `seen_incoming` are the UUIDs of what the latest look at the host found on its way: that may have begun before this
    connection.
    """

    def __init__(self) -> None:
        self.seen_incoming: frozenset[str] = frozenset()
        self._incoming: set[str] = set()

    def translate(self, raw: RawEvent) -> tuple[EventKind, str] | None:
        """Kind and detail, or None for an event that says nothing more than those around it."""
        if raw.event == libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE:
            return self._lifecycle(raw.uuid, int(raw.values[0]), int(raw.values[1]))
        if raw.event == libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION:
            return EventKind.MIGRATION_ITERATION, str(raw.values[0])
        if raw.event == libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED:
            return EventKind.JOB_COMPLETED, ""
        return EventKind.CHANGED, _CHANGES.get(raw.event, "")

    def _lifecycle(self, uuid: str, event: int, detail: int) -> tuple[EventKind, str] | None:
        kind = _KINDS.get(event)
        if kind is None:  # SHUTDOWN: its STOPPED follows at once
            return None
        texts = _DETAILS[event]
        text = texts[detail] if 0 <= detail < len(texts) else f"detail {detail}"
        if kind is EventKind.STARTED and detail == libvirt.VIR_DOMAIN_EVENT_STARTED_MIGRATED:
            self._incoming.add(uuid)
            return EventKind.CHANGED, "migration coming in"
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            return self._stopped(uuid, detail, text)
        if kind in (EventKind.RESUMED, EventKind.SUSPENDED) and self._has_come(uuid):
            return EventKind.MIGRATED_IN, text
        return kind, text

    def _stopped(self, uuid: str, detail: int, text: str) -> tuple[EventKind, str]:
        if self._has_come(uuid):
            return EventKind.STOPPED, "incoming migration given up"
        if detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED:
            return EventKind.MIGRATED_OUT, text
        return (EventKind.CRASHED if detail in _DEATHS else EventKind.STOPPED), text

    def _has_come(self, uuid: str) -> bool:
        """Whether it was on its way in, which is over with this event."""
        was = uuid in self._incoming or uuid in self.seen_incoming
        self._incoming.discard(uuid)
        self.seen_incoming -= {uuid}
        return was


def register(connection: Connection, deliver: Callable[[RawEvent], None]) -> list[int]:
    """Have `deliver` called in the pump's thread with every event; returns the ids to deregister.

    A daemon too old for an event is no reason to go without the others.
    """
    callbacks = []
    for event in REGISTERED:
        try:
            callbacks.append(connection.domainEventRegisterAny(None, event, _on_event, (event, deliver)))
        except LibvirtError:
            continue
    return callbacks


def _on_event(_connection: Connection, domain: Domain, *arguments: Any) -> None:
    *values, (event, deliver) = arguments
    stats = None
    if event == libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED:
        stats = dict(values[0])
        values = []
    plain = tuple(value for value in values if isinstance(value, int | str))
    deliver(RawEvent(event, domain.UUIDString(), domain.name(), plain, stats))
