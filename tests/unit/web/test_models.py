import json
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import pytest

from scheduler.cluster.model import Host, HostState
from scheduler.web.models import to_json

from .memory import SHORT


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (frozenset({"b", "a", "c"}), '["a", "b", "c"]'),
        (("x", None, 1.5), '["x", null, 1.5]'),
        (HostState.MAINTENANCE, '"maintenance"'),
        (MappingProxyType({"rack": "a"}), '{"rack": "a"}'),
        (datetime(2026, 11, 23, 10, 0, tzinfo=UTC), '"2026-11-23T10:00:00Z"'),
        (datetime(2026, 11, 23, 11, 0, tzinfo=timezone(timedelta(hours=1))), '"2026-11-23T10:00:00Z"'),
        (SHORT, '{"code": "memory_short", "text": "needs 8,192 MiB, 2,048 MiB short"}'),
        ("Zürich", '"Zürich"'),
    ],
)
def test_value_as_json(value: object, text: str) -> None:
    assert to_json(value) == text


def test_record_as_json_is_an_object_of_its_fields() -> None:
    host = json.loads(to_json(Host(name="node1", cpus=2, memory_mib=1024, cpu_features=frozenset({"sse", "aes"}))))
    assert (host["state"], host["cpu_features"], host["cpu_model"]) == ("up", ["aes", "sse"], None)


@pytest.mark.parametrize(("value", "error"), [(float("nan"), ValueError), (object(), TypeError), (Host, TypeError)])
def test_what_json_does_not_have_is_an_error(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        to_json(value)
