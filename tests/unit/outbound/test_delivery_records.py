"""Callbacks over a restart: what one process did not deliver the next one does, and nothing that is known to have
arrived is sent again. Time is virtual."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manager_agent.frozen import replace
from manager_agent.outbound.deliveries import RETRY_WINDOW
from manager_agent.outbound.delivery_records import KEPT_FOR
from manager_agent.records.memory import MemoryRecords
from manager_agent.records.records import Kind, Records
from manager_agent.records.sqlite import SqliteRecords
from manager_agent.session.session import Session
from tests.unit.outbound.callback_harness import (
    ACTIVE,
    CLOSED,
    READY,
    READY_AGAIN,
    CallbackHarness,
    Sent,
    accepts,
    hangs,
)
from tests.unit.sessions import START
from tests.unit.virtual_time import in_virtual_time, let_pass, now
from tests.unit.waits import never

pytestmark = pytest.mark.unit


class Home:
    """Records that outlive a process, in each implementation of the port."""

    def __init__(self, kind: str, directory: Path) -> None:
        self._kind, self._directory = kind, directory
        self.records: Records

    async def begin(self) -> None:
        self.records = MemoryRecords(now) if self._kind == "memory" else SqliteRecords(self._directory, now)
        await self.records.start()

    async def after_kill(self) -> Records:
        """The records as the next process finds them. What is not committed by then is lost."""
        if self._kind == "sqlite":
            self.records = SqliteRecords(self._directory, now)
            await self.records.start()
        return self.records


@pytest.fixture(params=["memory", "sqlite"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return Home(request.param, tmp_path)


async def killed(first: CallbackHarness, home: Home) -> Records:
    """End the first process without any of its manners. Returns the records for the next one."""
    await let_pass(0.1)
    await home.records.committed()
    await first.callbacks._tasks.aclose()
    return await home.after_kill()


async def started(first: CallbackHarness, records: Records, *, forgets: bool = False) -> CallbackHarness:
    """The next process, whose receivers accept everything. It restores the sessions unless it `forgets` them."""

    async def recovered() -> None:
        if not forgets:
            await never()

    second = CallbackHarness(accepts, records=records, recovered=recovered)
    await second.callbacks.start()
    await second.callbacks.restore()
    if not forgets:
        for session in first.store.list():
            await second.store.restore(resumed(session))
    await let_pass(1)
    return second


def resumed(session: Session) -> Session:
    """As recovery continues it: with a revision that was never shown."""
    return replace(session, revision=session.revision + 1_000)


async def kept(records: Records) -> list[str]:
    await records.committed()
    return [record.key for record in await records.load(Kind.DELIVERY)]


@in_virtual_time
async def test_events_that_were_not_delivered_are_sent_by_the_next_process(home: Home) -> None:
    """In order, with the same ids and bodies."""
    await home.begin()
    first = CallbackHarness(hangs, records=home.records)
    await first.open("ses_1", *READY, ACTIVE, CLOSED)
    second = await started(first, await killed(first, home))
    assert second.sent_events("ses_1") == ["session_ready", "session_active", "session_ended"]
    assert second.http_client.sent[0].body == first.http_client.sent[0].body
    assert [sent.id for sent in second.http_client.sent] == [one.id for one in first.deliveries()]
    assert len({one.id for one in first.deliveries()}) == 3
    assert await kept(home.records) == ["ses_1"], "so that it is not told again"


@in_virtual_time
async def test_events_that_were_delivered_are_not_sent_again(home: Home) -> None:
    """Neither by the next process nor by the one after it, whether their sessions go on or are over."""
    await home.begin()
    first = CallbackHarness(accepts, records=home.records)
    await first.open("ses_1", *READY)
    await first.open("ses_2", *READY, CLOSED)
    await first.open("ses_3")
    for _ in range(2):
        second = await started(first, await killed(first, home))
        assert second.http_client.sent == []
        assert second.callbacks.pending == 0
        first = second
    await first.update("ses_1", ACTIVE)
    await let_pass(1)
    assert first.sent_events("ses_1") == ["session_active"]


@in_virtual_time
async def test_present_state_is_told_again_under_its_id_if_nothing_is_known_of_it() -> None:
    """Without STATE_DIR. A session that has not left its first state has told nothing."""
    first = CallbackHarness(accepts)
    await first.open("ses_1", *READY, ACTIVE)
    await first.open("ses_2")
    await let_pass(1)
    second = await started(first, MemoryRecords(now))
    assert second.sent_events("ses_1") == ["session_active"]
    assert second.sent_events("ses_2") == []
    assert second.http_client.sent[0].id == first.http_client.sent[-1].id
    await second.update("ses_1", READY_AGAIN)
    await let_pass(1)
    assert second.http_client.sent[-1].id not in {sent.id for sent in first.http_client.sent}


@in_virtual_time
async def test_state_whose_event_was_not_recorded_is_told_by_the_next_process(home: Home) -> None:
    await home.begin()
    first = CallbackHarness(accepts, records=home.records)
    await first.open("ses_1", *READY)
    records = await killed(first, home)
    await first.update("ses_1", ACTIVE)
    second = await started(first, records)
    assert second.sent_events("ses_1") == ["session_active"]


@in_virtual_time
async def test_events_of_sessions_that_were_opened_before_the_records_were_read_are_sent_once(home: Home) -> None:
    await home.begin()
    process = CallbackHarness(hangs, records=home.records, recovered=lambda: let_pass(1))
    await process.callbacks.start()
    await process.open("ses_1", *READY)
    await home.records.committed()
    await process.callbacks.restore()
    await let_pass(2)
    assert process.callbacks.pending == 1


@in_virtual_time
async def test_event_of_a_state_that_was_not_recorded_is_dropped(home: Home) -> None:
    """The process was killed before the room's record had it."""
    await home.begin()
    first = CallbackHarness(hangs, records=home.records)
    await first.open("ses_1", *READY)
    recorded = first.store.get("ses_1")
    await first.update("ses_1", ACTIVE)
    records = await killed(first, home)
    second = CallbackHarness(accepts, records=records)
    await second.callbacks.start()
    await second.callbacks.restore()
    await second.store.restore(resumed(recorded))
    await let_pass(1)
    assert second.sent_events("ses_1") == ["session_ready"]
    await second.update("ses_1", ACTIVE)
    await let_pass(1)
    assert second.sent_events("ses_1") == ["session_ready", "session_active"]
    assert second.http_client.sent[-1].id != first.deliveries()[-1].id
    assert await kept(home.records) == ["ses_1"]


@in_virtual_time
async def test_event_that_was_not_recorded_is_dropped_although_its_state_is_found_again(home: Home) -> None:
    """As a new one, with another id."""
    await home.begin()
    first = CallbackHarness(hangs, records=home.records)
    await first.open("ses_1", *READY)
    recorded = first.store.get("ses_1")
    await first.update("ses_1", ACTIVE)
    found = resumed(first.store.get("ses_1"))
    records = await killed(first, home)
    second = CallbackHarness(accepts, records=records)
    await second.callbacks.start()
    await second.callbacks.restore()
    await second.store.restore(replace(found, state_revision=found.revision), recorded.state_revision)
    await let_pass(1)
    assert second.sent_events("ses_1") == ["session_ready", "session_active"]
    assert second.http_client.sent[-1].id != first.deliveries()[-1].id
    assert await kept(home.records) == ["ses_1"]


@in_virtual_time
async def test_receiver_that_wants_no_events_of_a_session_gets_none_after_a_restart(home: Home) -> None:
    """Also if others waited, and if the session has ended since."""

    async def unwanted(_: Sent) -> int:
        return 410

    await home.begin()
    first = CallbackHarness(unwanted, records=home.records)
    await first.open("ses_1", *READY, ACTIVE)
    await first.open("ses_2", *READY)
    await let_pass(1)
    await first.update("ses_2", CLOSED)
    second = await started(first, await killed(first, home))
    await second.update("ses_1", CLOSED)
    await let_pass(1)
    third = await started(second, await killed(second, home))
    assert second.http_client.sent == third.http_client.sent == []


@in_virtual_time
async def test_last_event_of_a_session_that_nobody_knows_any_more_is_sent(home: Home) -> None:
    """Once all sessions are recovered. Nothing is kept of it afterwards, nor of another that had told everything."""
    await home.begin()
    first = CallbackHarness(lambda sent: (hangs if sent.session_id == "ses_1" else accepts)(sent), records=home.records)
    await first.open("ses_1", *READY, CLOSED)
    await first.open("ses_2", *READY)
    second = await started(first, await killed(first, home), forgets=True)
    assert second.sent_events("ses_1") == ["session_ready", "session_ended"]
    assert second.sent_events("ses_2") == []
    assert await kept(home.records) == []


@in_virtual_time
async def test_nothing_is_kept_of_a_session_that_is_forgotten(home: Home) -> None:
    """Also if its last event is delivered afterwards, or refused for lack of space."""

    async def late(_: Sent) -> int:
        await let_pass(2)
        return 200

    await home.begin()
    harness = CallbackHarness(late, records=home.records)
    await harness.open("ses_1", *READY, CLOSED)
    await let_pass(1)
    await harness.store.remove("ses_1")
    await let_pass(10)
    await harness.open("ses_2", *READY, CLOSED)
    await let_pass(10)
    assert await kept(home.records) == ["ses_2"]
    await harness.store.remove("ses_2")
    assert harness.sent_events("ses_1") == harness.sent_events("ses_2") == ["session_ready", "session_ended"]
    assert await kept(home.records) == []


@in_virtual_time
async def test_retries_of_the_next_process_have_all_their_time(home: Home) -> None:
    """However long no process ran; but not forever."""
    await home.begin()
    first = CallbackHarness(hangs, records=home.records)
    await first.open("ses_1", *READY)
    await let_pass(RETRY_WINDOW / 2)
    records = await killed(first, home)
    (record,) = await records.load(Kind.DELIVERY)
    assert record.expires_at == START + KEPT_FOR
    await let_pass(RETRY_WINDOW)
    second = CallbackHarness(hangs, records=records)
    await second.callbacks.start()
    await second.callbacks.restore()
    await second.store.restore(resumed(first.store.get("ses_1")))
    await let_pass(RETRY_WINDOW / 2)
    assert second.outcomes() == [("session_ready", "pending")]
    await let_pass(RETRY_WINDOW)
    assert second.outcomes() == [("session_ready", "given_up")]


@in_virtual_time
async def test_event_that_can_not_be_read_is_made_again(home: Home) -> None:
    await home.begin()
    first = CallbackHarness(hangs, records=home.records)
    await first.open("ses_1", *READY)
    await let_pass(0.1)
    home.records.put(Kind.DELIVERY, first.deliveries()[0].id, b"9.{}")
    second = await started(first, await killed(first, home))
    assert [sent.id for sent in second.http_client.sent] == [one.id for one in first.deliveries()]
    assert json.loads(second.http_client.sent[0].body)["event"] == "session_ready"


@in_virtual_time
async def test_finished_event_is_kept_without_its_address_and_body(home: Home) -> None:
    await home.begin()
    harness = CallbackHarness(accepts, records=home.records)
    await harness.open("ses_1", *READY)
    await let_pass(1)
    await home.records.committed()
    (record,) = await home.records.load(Kind.DELIVERY)
    assert b"shop.example" not in record.value
    assert b"createdAt" not in record.value
