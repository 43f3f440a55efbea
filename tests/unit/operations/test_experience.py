"""What completed migrations teach about links and VMs, and what they do not."""

from dataclasses import replace

import pytest

from scheduler.cluster.model import Link, Snapshot
from scheduler.operations.experience import MIB, PER_HOST, PER_LINK, PER_VM, Experience
from scheduler.operations.records import MigrationRecord, MigrationState
from tests.unit.clusters import cluster, host, vm

from .test_journal import MIGRATION

DONE = replace(
    MIGRATION,
    vm="web1",
    uuid=vm("web1", "a").uuid,
    source="a",
    destination="b",
    state=MigrationState.COMPLETED,
    duration_seconds=12.0,
    transfer_seconds=10.0,
    transferred_bytes=1000 * MIB,
    predicted_seconds=12.0,
)


def learned(*records: MigrationRecord, hosts: str = "ab") -> Snapshot:
    experience = Experience()
    for record in records:
        experience.learn(record)
    return experience.on(cluster([host(name) for name in hosts], [vm("web1", "a"), vm("web2", "a")]))


def test_a_link_is_as_fast_as_memory_went_over_it() -> None:
    slower = replace(DONE, transferred_bytes=3000 * MIB, transfer_seconds=60.0, duration_seconds=61.0)
    assert learned(DONE, slower).links == (
        Link(source="a", destination="b", bandwidth_mib_per_s=57.143, overhead_seconds=1.5),
    )


def test_guests_are_expected_to_stand_still_as_long_as_most_did() -> None:
    times = [replace(DONE, downtime_ms=ms) for ms in (200, 3000, 240)]
    assert [link.downtime_ms for link in learned(*times, DONE).links] == [240]
    assert [link.downtime_ms for link in learned(DONE).links] == [None]


def test_directions_are_learned_apart() -> None:
    back = replace(DONE, source="b", destination="a", transferred_bytes=200 * MIB)
    links = learned(DONE, back).links
    assert [(link.source, link.bandwidth_mib_per_s) for link in links] == [
        ("a", 100.0),
        ("b", 20.0),
    ]


def test_what_was_long_ago_is_forgotten() -> None:
    slow = replace(DONE, transferred_bytes=10 * MIB)
    assert [link.bandwidth_mib_per_s for link in learned(slow, *[DONE] * PER_LINK).links] == [100.0]


def test_links_of_hosts_that_are_gone_are_left_out() -> None:
    assert learned(DONE, replace(DONE, destination="gone"), hosts="abc").links == learned(DONE).links


@pytest.mark.parametrize(
    "useless",
    [
        replace(DONE, state=MigrationState.FAILED),
        replace(DONE, state=MigrationState.ABORTED),
        replace(DONE, duration_seconds=None),
        replace(DONE, transfer_seconds=None, predicted_seconds=None),
        replace(DONE, transferred_bytes=0, predicted_seconds=None),
    ],
)
def test_what_did_not_complete_or_was_not_measured_teaches_nothing(useless: MigrationRecord) -> None:
    snapshot = learned(useless)
    assert snapshot.links == ()
    assert [one.migration_overrun_factor for one in snapshot.vms] == [None, None]


LATE = replace(DONE, duration_seconds=36.0)


@pytest.mark.parametrize(
    ("records", "factor"),
    [
        ([LATE], None),
        ([LATE, LATE], 3.0),
        ([LATE, DONE, LATE], 3.0),
        ([LATE, LATE, DONE, DONE, DONE], None),
        ([*[LATE] * PER_VM, *[DONE] * PER_VM], None),
        ([replace(DONE, duration_seconds=15.0)] * 2, None),
        ([replace(DONE, predicted_seconds=1.0, duration_seconds=4.0)] * 2, None),
    ],
    ids=["once", "twice", "mostly", "seldom", "long ago", "by little", "by few seconds"],
)
def test_a_vm_whose_migrations_overrun_again_and_again_is_known_for_it(
    records: list[MigrationRecord], factor: float | None
) -> None:
    web1, web2 = learned(*records).vms
    assert web1.migration_overrun_factor == factor
    assert web2.migration_overrun_factor is None


def by(*names: str) -> list[MigrationRecord]:
    return [replace(LATE, uuid=name) for name in names]


@pytest.mark.parametrize(
    ("records", "factor"),
    [
        (by("u", "v", "w"), 3.0),
        (by("u", "v", "u", "v", "u"), None),
        ([*by("u", "v", "w"), *[replace(one, duration_seconds=12.0) for one in by("v", "w")]], None),
        ([*by("u", "v", "w"), *[replace(DONE, uuid=str(number)) for number in range(PER_HOST)]], None),
    ],
    ids=["all of three", "only two", "not any more", "long ago"],
)
def test_a_host_with_which_many_vms_overrun_is_known_for_it(
    records: list[MigrationRecord], factor: float | None
) -> None:
    hosts = learned(*records, hosts="abc").hosts
    assert [one.migration_overrun_factor for one in hosts] == [factor, factor, None]
