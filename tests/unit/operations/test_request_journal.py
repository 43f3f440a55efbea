"""Who asked for what stands in the journal before it is done, and how it ended after it."""

from dataclasses import replace

from scheduler.operations.journal import Journal
from scheduler.operations.records import RequestRecord

ASKED = RequestRecord(
    at=100.0,
    requested_by="token:ci",
    role="operator",
    method="POST",
    path="/v1/migrations",
    asked={"vms": ["web*"], "to": "node2"},
)


async def test_a_request_is_there_before_its_end(tmp_path) -> None:
    journal = await Journal.open(tmp_path / "journal.sqlite")
    try:
        first = await journal.begin_request(ASKED)
        second = await journal.begin_request(replace(ASKED, requested_by="alice"))
        assert await journal.requests(limit=9) == [second, first]
        assert first == replace(ASKED, id=1)
        await journal.end_request(first.id, "refused")
        assert [one.outcome for one in await journal.requests(limit=9)] == ["", "refused"]
        assert await journal.requests(limit=1) == [second]
    finally:
        await journal.close()
