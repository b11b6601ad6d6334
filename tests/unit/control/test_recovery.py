"""Recovery reads every room that it can, and completes although others can't be read."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from livekit.protocol.models import Room as RoomInfo

from manager_agent.clock import SteadyClock
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.control.recovery import ROUNDS_MAX, Recovery
from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.livekit.livekit_clock import LiveKitClock
from manager_agent.livekit.room_record import RecordedDispatches
from manager_agent.livekit.server_api import Listing, LiveKitUnavailable, RoomMissing, Rooms
from manager_agent.messages import RoomStatus
from manager_agent.session.identities import Identities
from manager_agent.session.progress import resumed
from manager_agent.session.session import Session
from manager_agent.session.specification import Specification
from manager_agent.store.memory import MemoryStore
from tests.unit import sessions as given
from tests.unit.virtual_time import in_virtual_time, now

pytestmark = pytest.mark.unit


def a_room(session: Session, sid: str = "RM_1") -> ListedRoom:
    status = RoomStatus.of(session, "d")
    return ListedRoom(session.room_name, sid, session.session_id, is_ours=True, status=status)


class RecordedRooms:
    """Rooms with these dispatches. `faults` are raised instead, by the room's name, one at each question."""

    def __init__(self, *rooms: ListedRoom, texts: tuple[str, ...], faults: dict[str, list[Exception]]) -> None:
        self.rooms, self.texts, self.faults = list(rooms), texts, faults
        self.asked: list[str] = []
        clock = SteadyClock()
        self.clock_origin, self.livekit_clock = clock.origin, LiveKitClock(clock)

    async def list_rooms(self) -> list[ListedRoom]:
        if self.faults.get("", []):
            raise self.faults[""].pop(0)
        return self.rooms

    async def recorded_dispatches(self, room_name: str) -> RecordedDispatches:
        self.asked.append(room_name)
        if self.faults.get(room_name, []):
            raise self.faults[room_name].pop(0)
        return RecordedDispatches(self.texts, manager_attempts=1, invite_ids=frozenset())

    async def list_participants(self, _: str) -> Listing:
        return Listing((), ())


class RestoringOrchestrator:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def resume(self, session: Session, recorded: Session) -> None:
        self._store.restore(session)


SESSION = given.after(given.a_session(given.JOINS), *given.created(), *given.invited(given.ASR))
TEXT = Specification.of(SESSION).text()


async def recovered(
    *rooms: ListedRoom, texts: tuple[str, ...] = (TEXT,), store: MemoryStore | None = None, **faults: list[Exception]
) -> Recovery:
    """The recovery, once it is complete."""
    livekit = RecordedRooms(*rooms, texts=texts, faults={name.strip("_"): raised for name, raised in faults.items()})
    store = store or MemoryStore(now)
    recovery = Recovery(
        store=store,
        rooms=cast(Rooms, livekit),
        orchestrator=cast(Orchestrator, RestoringOrchestrator(store)),
        identities=Identities("secret"),
        clock=now,
    )
    await recovery.start()
    while not recovery.is_complete:
        await asyncio.sleep(0.1)
    await recovery.aclose()
    return recovery


@in_virtual_time
async def test_recovery_asks_again_for_what_livekit_did_not_answer() -> None:
    down: list[Exception] = [LiveKitUnavailable("down"), LiveKitUnavailable("down")]
    recovery = await recovered(a_room(SESSION), _=list(down), demo=list(down))
    assert recovery.is_known(a_room(SESSION))


@in_virtual_time
async def test_recovery_is_complete_although_one_room_never_answers() -> None:
    dead = [LiveKitUnavailable("its node is gone") for _ in range(ROUNDS_MAX)]
    recovery = await recovered(a_room(SESSION), demo=list(dead))
    assert not recovery.is_known(a_room(SESSION))
    assert recovery.unreadable == []
    assert await recovery.recover(a_room(SESSION))


@in_virtual_time
async def test_recovery_leaves_out_a_room_that_is_gone_by_now() -> None:
    recovery = await recovered(a_room(SESSION), demo=[RoomMissing("demo")])
    assert not recovery.is_known(a_room(SESSION))


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ((), "there is none"),
        (("1.x.y",), "checksum"),
        (("9.x.y", TEXT), "version 9"),
        ((Specification.of(given.after(given.a_session(), *given.created())).text().replace("1.", "1.0"),), "checksum"),
    ],
)
@in_virtual_time
async def test_a_room_whose_record_is_damaged_or_newer_is_left_alone(texts: tuple[str, ...], why: str) -> None:
    recovery = await recovered(a_room(SESSION), texts=texts)
    (room,) = recovery.unreadable
    assert (room.name, room.sid) == ("demo", "RM_1")
    assert why in room.why
    assert recovery.is_unreadable(a_room(SESSION))


@in_virtual_time
async def test_a_room_that_cant_be_recovered_by_an_error_of_ours_keeps_no_other_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def faulty(session: Session, *about: Any, room_sid: str, **more: Any) -> Session:
        if room_sid == "RM_2":
            raise RuntimeError("as the test wants it")
        return resumed(session, *about, room_sid=room_sid, **more)

    monkeypatch.setattr("manager_agent.control.recovery.resumed", faulty)
    recovery = await recovered(a_room(SESSION, "RM_2"), a_room(SESSION))
    assert [room.sid for room in recovery.unreadable] == ["RM_2"]
    assert "as the test wants it" in recovery.unreadable[0].why
    assert recovery.is_known(a_room(SESSION))


@in_virtual_time
async def test_a_room_whose_status_is_of_another_version_is_left_alone() -> None:
    metadata = RoomStatus.of(SESSION, "d").model_dump_json().replace('"waiting"', '"a state of a later version"')
    room = ListedRoom.of(RoomInfo(name="demo", sid="RM_1", metadata=metadata), "d")
    assert room.is_ours
    (unreadable,) = (await recovered(room)).unreadable
    assert "this version" in unreadable.why


@in_virtual_time
async def test_the_newest_specification_that_can_be_read_counts() -> None:
    recovery = await recovered(a_room(SESSION), texts=("1.damaged.text", TEXT))
    assert recovery.is_known(a_room(SESSION))


@in_virtual_time
async def test_revisions_that_were_shown_and_not_recorded_are_not_used_again() -> None:
    store = MemoryStore(now)
    await recovered(a_room(SESSION), store=store)
    shown = given.after(SESSION, *given.accepted(given.ASR), given.seen("sm-asr-1", "PA_1", given.START))
    assert store.get("s1").revision > shown.revision
