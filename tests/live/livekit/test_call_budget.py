"""How many calls of LiveKit's server API each act costs: a look at the room where it is needed, and the act."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from manager_agent.frozen import replace
from manager_agent.livekit import calls as livekit_calls
from manager_agent.livekit.calls import LiveKitUnavailable
from manager_agent.livekit.server_api import Rooms
from manager_agent.session.room import generated_room_name
from tests.livekit_proxy import LiveKitProxy
from tests.running_rooms import running_rooms
from tests.unit import sessions as given

pytestmark = pytest.mark.live


@pytest.fixture
async def rooms(proxy: LiveKitProxy) -> AsyncIterator[Rooms]:
    async with running_rooms(proxy.url) as rooms:
        yield rooms


@pytest.mark.parametrize(("has_generated_name", "look"), [(False, ["ListRooms"]), (True, [])])
async def test_each_act_is_a_look_and_a_call(
    has_generated_name: bool, look: list[str], rooms: Rooms, proxy: LiveKitProxy
) -> None:
    def calls() -> list[str]:
        made = [call.method for call in proxy.calls]
        proxy.calls.clear()
        return made

    session = given.a_session(given.JOINS)
    if has_generated_name:
        session = replace(session, room_name=generated_room_name(session.session_id))
    sid = await rooms.create(session)
    assert calls() == [*look, "CreateRoom"]
    session = given.after(session, *given.created())
    session = replace(session, room=replace(session.room, sid=sid))
    await rooms.show_status(session)
    assert calls() == [*look, "UpdateRoomMetadata"]
    await rooms.dispatch_agent(session, "bot", "{}")
    assert calls() == ["ListRooms", "CreateDispatch"]
    await rooms.delete(session.room_name, sid=sid, session_id=session.session_id)
    assert calls() == ["ListRooms", "DeleteRoom"]


async def test_livekit_is_not_asked_whether_it_is_there_if_it_has_just_answered(
    rooms: Rooms, proxy: LiveKitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(livekit_calls, "ANSWERED_LATELY", 3_600.0)
    for _ in range(2):
        await rooms.check()
    assert [call.method for call in proxy.calls] == ["ListRooms"]
    monkeypatch.setattr(livekit_calls, "ANSWERED_LATELY", 0.0)
    await rooms.check()
    assert [call.method for call in proxy.calls] == ["ListRooms"] * 2


async def test_livekit_is_asked_whether_it_is_there_if_it_has_just_failed(
    rooms: Rooms, proxy: LiveKitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(livekit_calls, "ANSWERED_LATELY", 3_600.0)
    await rooms.check()
    await proxy.refuse()
    with pytest.raises(LiveKitUnavailable):
        await rooms.list_rooms()
    with pytest.raises(LiveKitUnavailable):
        await rooms.check()
