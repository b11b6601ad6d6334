"""What the manager in a room makes of its SDK's reconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc

from manager_agent.livekit import room_watcher
from manager_agent.livekit.join_slots import JoinSlots, JoinsUnderWay
from manager_agent.livekit.room_watcher import Watcher
from manager_agent.session import events as ev
from manager_agent.session.session import Session
from manager_agent.store.memory import MemoryStore
from tests.unit import sessions as given
from tests.unit.waits import never, until

pytestmark = pytest.mark.unit

MANAGER, SERVICE, OTHER = "sm-manager-1", "sm-asr-1", "sm-llm-1"


def a_participant(identity: str, sid: str) -> SimpleNamespace:
    kind, state = rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD, rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE
    return SimpleNamespace(identity=identity, sid=sid, kind=kind, state=state, attributes={}, joined_at=None)


class RoomOfOurs:
    """What the SDK shows of a room."""

    def on(self, _event: str, _callback: Any) -> None:
        pass

    def __init__(self) -> None:
        self.local_participant = a_participant(MANAGER, "PA_1")
        self.remote_participants = {
            one.identity: one for one in (a_participant(SERVICE, "PA_2"), a_participant(OTHER, "PA_3"))
        }


@pytest.fixture
def room() -> RoomOfOurs:
    return RoomOfOurs()


def a_watcher(store: Any = None, slots: Any = None, rooms: Any = None, joins: Any = None) -> Watcher:
    """One that uses nothing else."""
    unused: Any = None
    return Watcher(
        session_id="s1",
        identity=MANAGER,
        store=store,
        recording=unused,
        clock=lambda: 1.0,
        budget=unused,
        rooms=rooms,
        slots=slots,
        joins=joins,
    )


@pytest.fixture
def watcher(room: RoomOfOurs, monkeypatch: pytest.MonkeyPatch) -> Watcher:
    """In this room, with all who are there seen, while the SDK reconnects."""
    monkeypatch.setattr(rtc, "Room", lambda: room)
    watcher = a_watcher()
    watcher._enqueue_present()
    watcher._attendance.reconnecting()
    return watcher


def left(watcher: Watcher) -> dict[str, tuple[bool, bool]]:
    """Who was reported to have left: whether another participant has the identity, and whether it may return."""
    events = [watcher._inbox.get_nowait() for _ in range(watcher._inbox.qsize())]
    return {one.identity: (one.replaced, one.may_return) for one in events if isinstance(one, ev.ParticipantLeft)}


def test_those_who_were_cut_off_with_the_manager_may_return(watcher: Watcher, room: RoomOfOurs) -> None:
    room.local_participant = a_participant(MANAGER, "PA_4")
    room.remote_participants = {OTHER: a_participant(OTHER, "PA_5")}
    watcher._on_reconnected()
    assert left(watcher) == {SERVICE: (False, True), OTHER: (True, True)}


def test_those_who_left_while_the_manager_kept_its_place_are_gone(watcher: Watcher, room: RoomOfOurs) -> None:
    del room.remote_participants[SERVICE]
    watcher._on_reconnected()
    assert left(watcher) == {SERVICE: (False, False)}


async def test_a_manager_reports_that_it_waits_for_its_turn_to_join(
    room: RoomOfOurs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtc, "Room", lambda: room)
    monkeypatch.setattr(room_watcher, "WAITING_REPORTED", 0.001)
    reported = list[ev.Event]()

    class ReportedUpdates:
        async def update(self, _session_id: str, event: ev.Event) -> None:
            reported.append(event)

    class TakenSlots:
        @asynccontextmanager
        async def slot(self) -> AsyncIterator[None]:
            await never()
            yield

    watcher = a_watcher(store=ReportedUpdates(), slots=TakenSlots())
    watching = asyncio.create_task(watcher.watch("ws://127.0.0.1:1", "token"))
    await until(lambda: len(reported), lambda count: count >= 2)
    watching.cancel()
    await asyncio.wait([watching])
    assert set(reported) == {ev.ManagerWaited(1.0, MANAGER)}


@pytest.mark.parametrize("error", [TimeoutError(), rtc.ConnectError("refused")], ids=["given up", "refused"])
@pytest.mark.parametrize("is_over", [True, False], ids=["over", "live"])
async def test_a_join_that_failed_leaves_no_room_behind_once_its_session_is_over(
    room: RoomOfOurs, monkeypatch: pytest.MonkeyPatch, error: Exception, is_over: bool
) -> None:
    """LiveKit may have made the deleted room again for it."""
    monkeypatch.setattr(rtc, "Room", lambda: room)
    store = MemoryStore(lambda: given.START)
    await store.add(given.a_session())
    for event in (*given.created(), ev.JobAccepted(given.START, MANAGER)):
        await store.update("s1", event)
    deleted: list[str] = []

    class CameBack:
        async def delete_what_came_back(self, session: Session, manager: str) -> None:
            deleted.append(manager)

    async def fail(*_: Any) -> None:
        if is_over:
            at = given.START
            for event in (ev.SessionClosed(at), ev.CleanUpStarted(at), ev.CleanedUp(at)):
                await store.update("s1", event)
        raise error

    monkeypatch.setattr(room_watcher, "connect", fail)
    watcher = a_watcher(store, JoinSlots(), CameBack(), JoinsUnderWay())
    with pytest.raises(type(error)):
        await watcher.watch("ws://127.0.0.1:1", "token")
    assert deleted == ([MANAGER] if is_over else [])
