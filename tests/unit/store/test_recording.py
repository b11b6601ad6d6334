"""An acknowledgement waits until the room's record has what it says."""

from __future__ import annotations

import asyncio

import pytest

from manager_agent.not_acting import NotActing
from manager_agent.session import events as ev
from manager_agent.store.memory import MemoryStore
from manager_agent.store.recording import TIMEOUT, NotRecorded, Recording, RoomRecord
from tests.unit import sessions as given
from tests.unit.virtual_time import in_virtual_time, let_pass, now

pytestmark = pytest.mark.unit


async def a_recorded_session() -> tuple[MemoryStore, Recording, RoomRecord]:
    store = MemoryStore(now)
    recording = Recording(store)
    await store.add(given.after(given.a_session(given.JOINS), *given.created()))
    record = recording.open("s1")
    record.wrote(store.get("s1"), [])
    return store, recording, record


def write(store: MemoryStore, record: RoomRecord) -> None:
    session = store.get("s1")
    record.wrote(session, record.begin_write(session))


async def change(store: MemoryStore) -> None:
    for event in (*given.invited(given.ASR), *given.accepted(given.ASR)):
        await store.update("s1", event)


@in_virtual_time
async def test_what_is_recorded_is_not_waited_for() -> None:
    store, recording, _ = await a_recorded_session()
    await recording.until_recorded("s1", timeout=0)
    await store.update("s1", ev.WebhookArrived(now()))  # this is not recorded
    await recording.until_recorded("s1", timeout=0)


@in_virtual_time
async def test_a_change_is_waited_for_until_it_is_written() -> None:
    store, recording, record = await a_recorded_session()
    await change(store)
    waiting = asyncio.create_task(recording.until_recorded("s1"))
    await let_pass(1.0)
    assert not waiting.done()
    write(store, record)
    await waiting


@in_virtual_time
async def test_nothing_waits_for_second_copies() -> None:
    store = MemoryStore(now)
    recording = Recording(store, is_awaited=False)
    await store.add(given.after(given.a_session(given.JOINS), *given.created()))
    assert recording.open("s1").lacks(store.get("s1"))
    await recording.until_recorded("s1", timeout=0)
    assert await recording.until_all_recorded(timeout=0) == []


@in_virtual_time
async def test_a_write_that_began_before_the_change_does_not_count() -> None:
    store, recording, record = await a_recorded_session()
    early = record.begin_write(before := store.get("s1"))
    await change(store)
    waiting = asyncio.create_task(recording.until_recorded("s1"))
    await let_pass(0.1)
    record.wrote(before, early)
    await let_pass(0.1)
    assert not waiting.done()
    assert record.is_awaited
    write(store, record)
    await waiting


@in_virtual_time
async def test_a_write_under_way_that_has_the_change_is_shared() -> None:
    store, recording, record = await a_recorded_session()
    await change(store)
    first = asyncio.create_task(recording.until_recorded("s1"))
    await let_pass(0.1)
    waiting = record.begin_write(store.get("s1"))
    await store.update("s1", ev.WebhookArrived(now()))  # this is not recorded
    second = asyncio.create_task(recording.until_recorded("s1"))
    await let_pass(0.1)
    assert (first.done(), second.done(), record.is_awaited) == (False, False, False)
    record.wrote(store.get("s1"), waiting)
    await asyncio.gather(first, second)


@in_virtual_time
async def test_who_shares_a_write_that_fails_waits_for_the_next_one() -> None:
    store, recording, record = await a_recorded_session()
    await change(store)
    failing = record.begin_write(store.get("s1"))
    waiting = asyncio.create_task(recording.until_recorded("s1"))
    await let_pass(0.1)
    record.put_back(failing)
    await let_pass(0.1)
    assert record.is_awaited
    assert not waiting.done()
    write(store, record)
    await waiting


@in_virtual_time
async def test_what_livekit_does_not_record_in_time_is_not_acknowledged() -> None:
    store, recording, record = await a_recorded_session()
    await change(store)
    asked_at = now()
    with pytest.raises(NotRecorded):
        await recording.until_recorded("s1")
    assert now() == asked_at + TIMEOUT
    record.put_back(record.begin_write(store.get("s1")))
    assert not record.is_awaited


@in_virtual_time
async def test_nothing_is_waited_for_when_the_room_is_gone() -> None:
    store, recording, _ = await a_recorded_session()
    await change(store)
    waiting = asyncio.create_task(recording.until_recorded("s1"))
    await let_pass(0.1)
    recording.close("s1")
    await waiting
    await recording.until_recorded("s1", timeout=0)


@in_virtual_time
async def test_a_write_that_was_under_way_is_not_waited_for_when_the_room_is_gone() -> None:
    """The writer was cancelled: it tells the record nothing any more."""
    store, recording, record = await a_recorded_session()
    await change(store)
    waiting = asyncio.create_task(recording.until_recorded("s1", timeout=None))
    await let_pass(0.1)
    record.begin_write(store.get("s1"))
    recording.close("s1")
    await let_pass(0.1)
    assert waiting.done()
    await waiting


@in_virtual_time
async def test_the_pause_between_writes_ends_when_somebody_waits() -> None:
    store, recording, record = await a_recorded_session()
    await change(store)
    pause = asyncio.create_task(record.pause(60.0))
    await let_pass(1.0)
    assert not pause.done()
    waiting = asyncio.create_task(recording.until_recorded("s1", timeout=None))
    await pause
    assert now() < given.START + 60.0
    write(store, record)
    await waiting


@in_virtual_time
async def test_all_records_are_waited_for_and_those_that_lack_something_are_named() -> None:
    store, recording, record = await a_recorded_session()
    assert await recording.until_all_recorded(1.0) == []
    await change(store)
    waiting = asyncio.create_task(recording.until_all_recorded(1.0))
    await let_pass(0.5)
    write(store, record)
    assert await waiting == []
    await store.update("s1", ev.SessionClosed(now()))
    assert await recording.until_all_recorded(1.0) == ["s1"]


@in_virtual_time
async def test_those_who_wait_are_told_when_another_process_takes_over() -> None:
    store, recording, _ = await a_recorded_session()
    await recording.until_recorded("s1", timeout=0)
    await change(store)
    waiting = asyncio.create_task(recording.until_recorded("s1", timeout=None))
    await let_pass(0.1)
    store.freeze()
    recording.freeze()
    for asking in (waiting, recording.until_recorded("s1")):
        with pytest.raises(NotActing):
            await asking
