"""A room that LiveKit made because a session's manager joined is told apart from a stranger's."""

from __future__ import annotations

import pytest
from livekit import api

from manager_agent.frozen import replace
from manager_agent.livekit.listed_room import join_mark
from manager_agent.livekit.server_api import Rooms
from manager_agent.session.session import Session
from tests.running_rooms import rooms_at
from tests.unit import sessions as given

pytestmark = pytest.mark.unit

OWN_SID, SID = "RM_own", "RM_made"
MARK = join_mark("s1")


class OneRoomLiveKit:
    """Has one room, with these participants."""

    def __init__(self, room: api.Room, *identities: str) -> None:
        self.room = self
        self._room, self._identities = room, identities
        self.is_deleted = False

    async def list_rooms(self, _: api.ListRoomsRequest) -> api.ListRoomsResponse:
        return api.ListRoomsResponse(rooms=[self._room])

    async def list_participants(self, _: api.ListParticipantsRequest) -> api.ListParticipantsResponse:
        active = api.ParticipantInfo.ACTIVE
        here = [api.ParticipantInfo(identity=one, sid=f"PA_{one}", state=active) for one in self._identities]
        return api.ListParticipantsResponse(participants=here)

    async def delete_room(self, _: api.DeleteRoomRequest) -> None:
        self.is_deleted = True


def a_room(*, sid: str = SID, max_participants: int = MARK, metadata: str = "") -> api.Room:
    return api.Room(name="demo", sid=sid, max_participants=max_participants, metadata=metadata)


def a_session() -> Session:
    session = given.after(given.a_session(), *given.created())
    return replace(session, room=replace(session.room, sid=OWN_SID))


@pytest.mark.parametrize(
    ("room", "here", "is_deleted"),
    [
        (a_room(), (given.MANAGER,), True),
        (a_room(), (), True),
        (a_room(max_participants=0), (given.MANAGER,), False),
        (a_room(max_participants=join_mark("s2")), (given.MANAGER,), False),
        (a_room(metadata="a stranger's"), (given.MANAGER,), False),
        (a_room(sid=OWN_SID), (given.MANAGER,), False),
        (a_room(), (given.MANAGER, "bob"), False),
    ],
    ids=[
        "made by the join",
        "and left",
        "no mark",
        "another session's mark",
        "with metadata",
        "the session's own",
        "not alone",
    ],
)
async def test_only_a_room_that_the_managers_join_made_is_deleted(
    room: api.Room, here: tuple[str, ...], is_deleted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    livekit = OneRoomLiveKit(room, *here)
    monkeypatch.setattr(Rooms, "_livekit", livekit)
    await rooms_at("ws://127.0.0.1:1").delete_what_came_back(a_session(), given.MANAGER)
    assert livekit.is_deleted == is_deleted


def test_mark_is_a_limit_that_no_room_reaches_and_livekit_can_write() -> None:
    marks = {join_mark(f"ses_{number}") for number in range(1_000)}
    assert len(marks) == 1_000
    assert all(2**31 <= mark < 2**32 for mark in marks)
