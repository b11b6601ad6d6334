"""When LiveKit is asked which room has the name before something is written into it."""

from __future__ import annotations

import aiohttp
import pytest
from livekit import api

from manager_agent.frozen import replace
from manager_agent.livekit.calls import LiveKitHungUp, LiveKitUnavailable, RoomReplaced
from manager_agent.livekit.server_api import Rooms
from manager_agent.messages import RoomStatus
from manager_agent.session import events as ev
from manager_agent.session.room import generated_room_name
from manager_agent.session.session import Session
from tests.running_rooms import rooms_at
from tests.unit import sessions as given

pytestmark = pytest.mark.unit

SID = "RM_1"
LOOK, CREATE, WRITE = "ListRooms", "CreateRoom", "UpdateRoomMetadata"


class NotedLiveKit:
    """Has one room, under any name, unless its metadata is empty. `failures` are raised first, each by a call that
    changes something."""

    def __init__(self, *failures: Exception, sid: str = SID, metadata: str = "") -> None:
        self.room, self.calls, self.written = self, list[str](), list[str]()
        self._failures, self._sid, self._metadata = list(failures), sid, metadata

    async def list_rooms(self, asked: api.ListRoomsRequest) -> api.ListRoomsResponse:
        self._call(LOOK)
        return api.ListRoomsResponse(rooms=[self._room(name) for name in asked.names if self._metadata])

    async def create_room(self, asked: api.CreateRoomRequest) -> api.Room:
        self._call(CREATE)
        self._metadata = asked.metadata
        return self._room(asked.name)

    async def update_room_metadata(self, asked: api.UpdateRoomMetadataRequest) -> api.Room:
        self._call(WRITE)
        self._metadata = asked.metadata
        self.written.append(asked.metadata)
        return self._room(asked.room)

    def _call(self, method: str) -> None:
        self.calls.append(method)
        if self._failures and method != LOOK:
            raise self._failures.pop(0)

    def _room(self, name: str) -> api.Room:
        return api.Room(name=name, sid=self._sid, metadata=self._metadata)


def rooms_of(livekit: NotedLiveKit, monkeypatch: pytest.MonkeyPatch) -> Rooms:
    monkeypatch.setattr(Rooms, "_livekit", livekit)
    return rooms_at("ws://127.0.0.1:1")


def asked_for(name: str | None = None) -> Session:
    """A session whose room is not made yet. Its client asked for that name; None: for none."""
    session = given.a_session(given.JOINS)
    return replace(session, room_name=name or generated_room_name(session.session_id))


def running(name: str | None = None) -> Session:
    return given.after(asked_for(name), *given.created())


MISSED = ev.RoomMissed(given.START + 9, given.START + 8)
CLOSED = ev.SessionClosed(given.START + 9)
REPLACEABLE = replace(running(), room=replace(running().room, refusals=1))
UNANSWERED = replace(running(), room=replace(running().room, sid=""))


@pytest.mark.parametrize(
    ("session", "calls"),
    [(asked_for(), [CREATE]), (asked_for("lobby"), [LOOK, CREATE]), (running(), [LOOK, CREATE])],
    ids=["generated name", "chosen name", "made again"],
)
async def test_a_name_that_may_be_taken_is_looked_up_first(
    session: Session, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    livekit = NotedLiveKit()
    assert await rooms_of(livekit, monkeypatch).create(session) == SID
    assert livekit.calls == calls


@pytest.mark.parametrize(
    ("session", "calls"),
    [
        (running(), [WRITE]),
        (running("lobby"), [LOOK, WRITE]),
        (given.after(running(), MISSED), [LOOK, WRITE]),
        (given.after(running(), CLOSED), [LOOK, WRITE]),
        (REPLACEABLE, [LOOK, WRITE]),
        (UNANSWERED, [LOOK, WRITE]),
    ],
    ids=["generated name", "chosen name", "missed", "over", "may be made again", "sid unknown"],
)
async def test_a_room_that_may_be_another_is_looked_at_first(
    session: Session, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    livekit = NotedLiveKit(metadata=RoomStatus.of(session, "default").model_dump_json())
    await rooms_of(livekit, monkeypatch).show_status(session)
    assert livekit.calls == calls


async def test_a_write_whose_connection_was_closed_is_made_again_after_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    livekit = NotedLiveKit(aiohttp.ServerDisconnectedError(), metadata="{}")
    await rooms_of(livekit, monkeypatch).show_status(running())
    assert livekit.calls == [WRITE, LOOK, WRITE]


async def test_a_room_whose_connection_was_closed_is_made_after_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    livekit = NotedLiveKit(aiohttp.ServerDisconnectedError())
    assert await rooms_of(livekit, monkeypatch).create(asked_for()) == SID
    assert livekit.calls == [CREATE, LOOK, CREATE]


async def test_a_connection_that_is_closed_again_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    livekit = NotedLiveKit(aiohttp.ServerDisconnectedError(), aiohttp.ServerDisconnectedError())
    with pytest.raises(LiveKitHungUp):
        await rooms_of(livekit, monkeypatch).create(asked_for())
    assert livekit.calls == [CREATE, LOOK, CREATE]


async def test_a_livekit_that_is_away_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    livekit = NotedLiveKit(TimeoutError())
    with pytest.raises(LiveKitUnavailable):
        await rooms_of(livekit, monkeypatch).show_status(running())
    assert livekit.calls == [WRITE]


async def test_what_was_written_into_another_room_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    livekit = NotedLiveKit(sid="RM_2")
    with pytest.raises(RoomReplaced):
        await rooms_of(livekit, monkeypatch).show_status(running())
    assert [bool(one) for one in livekit.written] == [True, False]
