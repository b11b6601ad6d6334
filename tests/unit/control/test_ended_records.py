"""An ended session is in the records before its room is deleted, whichever process has ended it."""

from __future__ import annotations

from typing import cast

import pytest

from manager_agent.control.ended_records import VALUES, EndedRecords
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.frozen import replace
from manager_agent.records.memory import MemoryRecords
from manager_agent.records.records import Kind
from manager_agent.session import events as ev
from manager_agent.session.session import Session
from manager_agent.store.memory import MemoryStore
from tests.unit import sessions as given
from tests.unit.sessions import START

pytestmark = pytest.mark.unit


class RestoringOnly:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def resume(self, session: Session, recorded: Session | None) -> None:
        await self._store.restore(session)


def a_process(records: MemoryRecords) -> tuple[MemoryStore, EndedRecords]:
    store = MemoryStore(lambda: START)
    ended_records = EndedRecords(records, store, cast(Orchestrator, RestoringOnly(store)))
    store.listen(ended_records.tell)
    return store, ended_records


OVER = given.after(replace(given.a_session(), owner="acme"), *given.created(), ev.SessionClosed(START + 1))


async def recorded(records: MemoryRecords) -> list[Session]:
    return [value.session for value in VALUES.read(await records.load(Kind.ENDED_SESSION)).values()]


async def test_a_session_that_was_found_over_in_its_room_survives_a_kill_after_the_room_is_deleted() -> None:
    records = MemoryRecords(lambda: START)
    store, _ = a_process(records)
    await store.restore(OVER)
    assert await recorded(records) == [OVER]
    next_store, ended_records = a_process(records)
    await ended_records.restore()
    assert next_store.get("s1").end == OVER.end


async def test_a_session_restored_from_its_record_is_not_written_again() -> None:
    records = MemoryRecords(lambda: START)
    store, _ = a_process(records)
    await store.add(OVER)
    for event in (ev.CleanUpStarted(START + 1), ev.CleanedUp(START + 2)):
        await store.update("s1", event)
    written = MemoryRecords(lambda: START)
    next_store, _ = a_process(written)
    await next_store.restore(store.get("s1"))
    assert await recorded(written) == []


async def test_a_session_whose_room_name_is_anothers_by_now_is_recorded() -> None:
    records = MemoryRecords(lambda: START)
    store, _ = a_process(records)
    refused = ev.RoomRefused(START + 2, taken=True)
    created = replace(given.a_session(), owner="acme")
    await store.add(given.after(created, *given.created(), *given.room_requested_again(START + 1)))
    ended = await store.update("s1", refused)
    assert await recorded(records) == [ended]
