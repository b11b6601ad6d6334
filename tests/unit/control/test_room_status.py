"""The session's status in its room's metadata: written at every change, not too often, and the last change always."""

from __future__ import annotations

import asyncio
import random
import string

import pytest

from manager_agent.control.room_status import GATHERED, PER_SECONDS, WRITES, RoomStatusWriter
from manager_agent.livekit.calls import LiveKitUnavailable, RoomMissing
from manager_agent.livekit.server_api import Rooms
from manager_agent.registry.registry import Registry
from manager_agent.session import events as ev
from manager_agent.session.session import Session, SessionState, User
from manager_agent.session.specification import Specification
from manager_agent.store.memory import MemoryStore
from manager_agent.store.recording import NotRecorded, Recording
from tests.unit import sessions as given
from tests.unit.control.orchestrators import NoRooms, orchestrator_of
from tests.unit.virtual_time import in_virtual_time, let_pass, now
from tests.unit.waits import until

pytestmark = pytest.mark.unit

CHANGES = 60


def missed(_: RoomMissing, asked_at: float) -> ev.RoomMissed:
    return ev.RoomMissed(now(), asked_at)


class RecordingRooms(Rooms):
    """Records what is written into the room, and when. `faults` are raised first, one at each write."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.written: list[tuple[float, int]] = []
        self.specifications: list[Specification] = []

    async def record_specification(self, session: Session) -> None:
        self.specifications.append(Specification.of(session))

    async def show_status(self, session: Session) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.written.append((now(), session.revision))


def writer_of(
    store: MemoryStore, rooms: Rooms, created: Session, recording: Recording | None = None
) -> RoomStatusWriter:
    recording = recording or Recording(store)
    return RoomStatusWriter(store=store, rooms=rooms, recording=recording, clock=now, missed=missed, created=created)


async def until_current(store: MemoryStore, rooms: RecordingRooms) -> None:
    """Until the newest revision of the session is written."""
    await until(lambda: rooms.written[-1:], lambda last: bool(last) and last[0][1] >= store.get("s1").revision)


@in_virtual_time
async def test_fast_changes_are_written_to_the_room_together_and_the_last_one_always() -> None:
    rooms = RecordingRooms()
    store = MemoryStore(now)
    await store.add(given.a_session(given.JOINS))
    for event in (*given.created(), *given.invited(given.ASR), *given.accepted(given.ASR)):
        await store.update("s1", event)
    room_status = asyncio.create_task(writer_of(store, rooms, given.a_session(given.JOINS)).run())
    try:
        for n in range(CHANGES):
            comes_or_goes = given.seen if n % 2 == 0 else given.left
            await store.update("s1", comes_or_goes("sm-asr-1", f"PA_{n // 2}", given.START + n))
            await let_pass(PER_SECONDS / CHANGES)
        await until_current(store, rooms)
    finally:
        room_status.cancel()
    assert store.get("s1").revision > CHANGES
    assert rooms.specifications == []
    at = [instant for instant, _ in rooms.written]
    assert all(later - earlier > PER_SECONDS * 0.9 for earlier, later in zip(at, at[WRITES:], strict=False))


@pytest.mark.parametrize(
    "fault",
    [LiveKitUnavailable("down"), RoomMissing("demo"), RuntimeError("as the test wants it")],
    ids=lambda fault: type(fault).__name__,
)
@in_virtual_time
async def test_a_failed_write_of_the_room_status_is_repeated(fault: Exception) -> None:
    rooms = RecordingRooms(fault)
    store = MemoryStore(now)
    await store.add(given.a_session(given.JOINS))
    for event in (*given.created(), *given.invited(given.ASR)):
        await store.update("s1", event)
    room_status = asyncio.create_task(writer_of(store, rooms, given.a_session(given.JOINS)).run())
    try:
        await until_current(store, rooms)
    finally:
        room_status.cancel()


@in_virtual_time
async def test_the_specification_is_written_only_when_another_instance_is_chosen() -> None:
    rooms, store = RecordingRooms(), MemoryStore(now)
    await store.add(given.a_session(given.JOINS))
    for event in given.created():
        await store.update("s1", event)
    room_status = asyncio.create_task(writer_of(store, rooms, store.get("s1")).run())
    try:
        for event in (
            *given.invited(given.ASR),
            *given.accepted(given.ASR),
            given.seen("sm-asr-1", "PA_1", now()),
            given.left("sm-asr-1", "PA_1", now()),
        ):
            await store.update("s1", event)
        await until_current(store, rooms)
        assert rooms.specifications == []
        await store.update(
            "s1", ev.InviteStarted(now(), 0, 2, 1, "sm-asr-2", "inv_2", ev.Chosen("asr-2", "ASR", "http://b/"))
        )
        await until_current(store, rooms)
    finally:
        room_status.cancel()
    (written,) = rooms.specifications
    assert (written.services[0].attempt, written.services[0].current.endpoint) == (2, "http://b/")
    assert [past.instance.service_id for past in written.services[0].past] == ["asr-service"]


@in_virtual_time
async def test_an_end_that_is_not_written_is_not_recorded_and_is_written_later() -> None:
    rooms, store = RecordingRooms(*[LiveKitUnavailable("down")] * 10), MemoryStore(now)
    recording = Recording(store)
    await store.add(given.after(given.a_session(given.JOINS), *given.created()))
    writer = writer_of(store, rooms, store.get("s1"), recording)
    await store.update("s1", ev.SessionClosed(now()))
    writing = asyncio.create_task(writer.run())
    await writer.until_tried_last()
    assert rooms.written == []
    with pytest.raises(NotRecorded):
        await recording.until_recorded("s1")
    await recording.until_recorded("s1", timeout=None)
    await writing
    assert [revision for _, revision in rooms.written] == [store.get("s1").revision]


@in_virtual_time
async def test_an_answer_does_not_wait_for_a_write_of_what_no_caller_waits_for() -> None:
    """What has just changed is written with what the answer says."""
    rooms, store = RecordingRooms(), MemoryStore(now)
    recording = Recording(store)
    await store.add(given.after(given.a_session(given.JOINS), *given.created()))
    writing = asyncio.create_task(writer_of(store, rooms, store.get("s1"), recording).run())
    for event in (*given.invited(given.ASR), *given.accepted(given.ASR)):
        await store.update("s1", event)
    await let_pass(GATHERED / 2)
    assert rooms.written == []
    await store.update("s1", given.seen("sm-asr-1", "PA_1", now()))
    began = now()
    await recording.until_recorded("s1")
    assert rooms.written == [(began, store.get("s1").revision)]
    writing.cancel()


@in_virtual_time
async def test_the_end_of_a_session_is_written_at_once() -> None:
    """However much has just been written."""
    rooms, store = RecordingRooms(), MemoryStore(now)
    invited = given.after(given.a_session(given.JOINS), *given.created(), *given.invited(given.ASR))
    await store.add(invited)
    writer = writer_of(store, rooms, store.get("s1"))
    writing = asyncio.create_task(writer.run())
    for n in range(WRITES):
        await store.update("s1", given.seen("sm-asr-1", f"PA_{n}", now()))
        await until_current(store, rooms)
        await store.update("s1", given.left("sm-asr-1", f"PA_{n}", now()))
        await until_current(store, rooms)
    began = now()
    await store.update("s1", ev.SessionClosed(began))
    await writer.until_tried_last()
    assert rooms.written[-1] == (began, store.get("s1").revision)
    await writing


class StrictRooms(RecordingRooms):
    """LiveKit takes no specification that is too long."""

    async def record_specification(self, session: Session) -> None:
        Specification.of(session).text()
        await super().record_specification(session)


@in_virtual_time
async def test_a_change_whose_specification_is_too_long_is_not_recorded_but_the_end_is() -> None:
    store, rooms = MemoryStore(now), StrictRooms()
    recording = Recording(store)
    await store.add(given.after(given.a_session(given.JOINS), *given.created(), *given.invited(given.ASR)))
    writing = asyncio.create_task(writer_of(store, rooms, store.get("s1"), recording).run())
    noise = "".join(random.Random(1).choices(string.ascii_letters, k=40_000))
    elsewhere = ev.Chosen("asr-2", "ASR", f"http://{noise}/")
    for event in (
        ev.InviteRefused(now(), 0, 1, 1, ev.Refusal.DECLINED),
        ev.InviteStarted(now(), 0, 2, 1, "sm-asr-2", "inv_2", elsewhere),
    ):
        await store.update("s1", event)
    with pytest.raises(NotRecorded):
        await recording.until_recorded("s1")
    assert (rooms.specifications, rooms.written) == ([], [])
    await store.update("s1", ev.SessionClosed(now()))
    await writing
    assert [revision for _, revision in rooms.written] == [store.get("s1").revision]


class HangingRooms(RecordingRooms):
    """LiveKit takes no status any more."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def show_status(self, session: Session) -> None:
        self.asked.set()
        await asyncio.Event().wait()


@in_virtual_time
async def test_a_writer_that_was_cancelled_acknowledges_nothing() -> None:
    store, rooms = MemoryStore(now), HangingRooms()
    recording = Recording(store)
    await store.add(given.after(given.a_session(given.JOINS), *given.created()))
    writing = asyncio.create_task(writer_of(store, rooms, store.get("s1"), recording).run())
    for event in given.invited(given.ASR):
        await store.update("s1", event)
    await rooms.asked.wait()
    waiting = [asyncio.create_task(recording.until_recorded("s1")) for _ in range(2)]
    await let_pass(0.1)
    writing.cancel()
    await asyncio.wait([writing])
    for refused in (*waiting, recording.until_recorded("s1")):
        with pytest.raises(NotRecorded):
            await refused


class NotedRooms(NoRooms):
    """Rooms whose records are kept."""

    def __init__(self) -> None:
        self.created: Session | None = None
        self.written: list[Session] = []

    async def create(self, session: Session, *, patience: float) -> str:
        self.created = session
        return await super().create(session, patience=patience)

    async def show_status(self, session: Session) -> None:
        self.written.append(session)


@in_virtual_time
async def test_the_record_of_a_new_room_has_what_follows_from_its_creation() -> None:
    """A session without services is ready then: its token does not wait for another write."""
    store, rooms = MemoryStore(now), NotedRooms()
    orchestrator = orchestrator_of(store, Registry(now, store.counts, random.Random(0)), rooms, None, now)
    opened = await orchestrator.open(Session("s1", "room-1", User("alice"), now()))
    await let_pass(1.0)
    assert rooms.created is not None
    assert (opened.state, rooms.created.state, rooms.created.room.sid) == (SessionState.READY, SessionState.READY, "")
    assert (rooms.created.revision, rooms.written) == (opened.revision, [])
    await orchestrator.aclose()
