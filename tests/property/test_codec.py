"""The quick reader of snapshots makes of them what pydantic makes of them."""

import json

from hypothesis import given
from hypothesis import settings as hypothesis_settings

from scheduler.cluster import reading, refusing
from scheduler.cluster.codec import dump_snapshot
from scheduler.cluster.model import Snapshot
from tests.property.clusters import snapshots


@hypothesis_settings(max_examples=60, deadline=None)
@given(snapshots())
def test_both_readers_read_the_same(snapshot: Snapshot) -> None:
    data = json.loads(dump_snapshot(snapshot))
    assert reading.read(Snapshot, data) == refusing.read(Snapshot, data) == snapshot
