"""The meaning of libvirt's events."""

import libvirt
import pytest

from scheduler.cluster.observation import EventKind
from scheduler.hypervisor.events import RawEvent, Translator

UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"


def lifecycle(event: int, detail: int, uuid: str = UUID) -> RawEvent:
    return RawEvent(libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, uuid, "vm1", (event, detail))


@pytest.mark.parametrize(
    ("event", "detail", "kind", "text"),
    [
        ("DEFINED", "DEFINED_ADDED", EventKind.DEFINED, "added"),
        ("DEFINED", "DEFINED_UPDATED", EventKind.DEFINED, "updated"),
        ("UNDEFINED", "UNDEFINED_REMOVED", EventKind.UNDEFINED, "removed"),
        ("STARTED", "STARTED_BOOTED", EventKind.STARTED, "booted"),
        ("STARTED", "STARTED_RESTORED", EventKind.STARTED, "restored"),
        ("STARTED", "STARTED_MIGRATED", EventKind.CHANGED, "migration coming in"),
        ("SUSPENDED", "SUSPENDED_PAUSED", EventKind.SUSPENDED, "paused"),
        ("SUSPENDED", "SUSPENDED_IOERROR", EventKind.SUSPENDED, "I/O error"),
        ("SUSPENDED", "SUSPENDED_MIGRATED", EventKind.SUSPENDED, "migrating"),
        ("SUSPENDED", "SUSPENDED_POSTCOPY_FAILED", EventKind.SUSPENDED, "post-copy failed"),
        ("RESUMED", "RESUMED_UNPAUSED", EventKind.RESUMED, "unpaused"),
        ("RESUMED", "RESUMED_MIGRATED", EventKind.RESUMED, "migrated"),
        ("STOPPED", "STOPPED_SHUTDOWN", EventKind.STOPPED, "shut down"),
        ("STOPPED", "STOPPED_DESTROYED", EventKind.STOPPED, "destroyed"),
        ("STOPPED", "STOPPED_SAVED", EventKind.STOPPED, "saved"),
        ("STOPPED", "STOPPED_CRASHED", EventKind.CRASHED, "crashed"),
        ("STOPPED", "STOPPED_FAILED", EventKind.CRASHED, "failed"),
        ("STOPPED", "STOPPED_MIGRATED", EventKind.MIGRATED_OUT, "migrated"),
        ("PMSUSPENDED", "PMSUSPENDED_MEMORY", EventKind.SUSPENDED, "suspended to memory"),
        ("CRASHED", "CRASHED_PANICKED", EventKind.CRASHED, "panicked"),
    ],
)
def test_lifecycle(event, detail, kind, text):
    raw = lifecycle(getattr(libvirt, f"VIR_DOMAIN_EVENT_{event}"), getattr(libvirt, f"VIR_DOMAIN_EVENT_{detail}"))
    assert Translator().translate(raw) == (kind, text)


def test_details_and_events_of_a_newer_libvirt_do_no_harm():
    assert Translator().translate(lifecycle(libvirt.VIR_DOMAIN_EVENT_STARTED, 99)) == (EventKind.STARTED, "detail 99")
    assert Translator().translate(lifecycle(99, 0)) is None
    assert Translator().translate(RawEvent(99, UUID, "vm1")) == (EventKind.CHANGED, "")


def test_shutting_down_is_left_to_the_stop_that_follows():
    raw = lifecycle(libvirt.VIR_DOMAIN_EVENT_SHUTDOWN, libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_FINISHED)
    assert Translator().translate(raw) is None


INCOMING = lifecycle(libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_MIGRATED)
RESUMED = lifecycle(libvirt.VIR_DOMAIN_EVENT_RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_MIGRATED)
PAUSED = lifecycle(libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED)
FAILED = lifecycle(libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED)


@pytest.mark.parametrize("arrival", [RESUMED, PAUSED])
def test_an_arrival_is_told_once(arrival):
    translator = Translator()
    translator.translate(INCOMING)
    arrived, again = translator.translate(arrival), translator.translate(arrival)
    assert arrived is not None
    assert again is not None
    assert arrived[0] is EventKind.MIGRATED_IN
    assert again[0] is not EventKind.MIGRATED_IN


def test_a_migration_given_up_is_no_crash_on_the_destination():
    translator = Translator()
    translator.translate(INCOMING)
    assert translator.translate(FAILED) == (EventKind.STOPPED, "incoming migration given up")
    assert translator.translate(FAILED) == (EventKind.CRASHED, "failed")


def test_what_was_on_its_way_before_the_connection_is_known_from_a_look():
    translator = Translator()
    translator.seen_incoming = frozenset({UUID})
    assert translator.translate(FAILED) == (EventKind.STOPPED, "incoming migration given up")
    assert translator.translate(FAILED) == (EventKind.CRASHED, "failed")


def test_another_domain_s_arrival_is_not_this_one_s():
    translator = Translator()
    translator.translate(INCOMING)
    other = lifecycle(libvirt.VIR_DOMAIN_EVENT_RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_MIGRATED, "other")
    assert translator.translate(other) == (EventKind.RESUMED, "migrated")


def test_migration_progress_and_changes():
    translator = Translator()
    iteration = RawEvent(libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, UUID, "vm1", (3,))
    assert translator.translate(iteration) == (EventKind.MIGRATION_ITERATION, "3")
    completed = RawEvent(libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, UUID, "vm1", stats={"downtime": 300})
    assert translator.translate(completed) == (EventKind.JOB_COMPLETED, "")
    metadata = RawEvent(libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, UUID, "vm1", (2, "urn:virt-scheduler:1"))
    assert translator.translate(metadata) == (EventKind.CHANGED, "metadata")
