"""Rooms of other applications on the same LiveKit server keep their name, their metadata and their participants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from livekit import api

from http_api.app_keys import ROOMS
from manager_agent.livekit.calls import RoomMissing
from manager_agent.livekit.server_api import RoomTaken
from manager_agent.messages import RoomStatus
from manager_agent.session.session import Session
from tests.live.conftest import Site, Stack, StartStack
from tests.live.humans import over
from tests.livekit_faults import Hold, answer_lost, dropped
from tests.livekit_proxy import LiveKitProxy
from tests.waiting import eventually

pytestmark = pytest.mark.live

NAME = "lobby"


@pytest.fixture
async def proxied(start_stack: StartStack, site: Site, proxy: LiveKitProxy) -> AsyncIterator[Stack]:
    """An API whose LiveKit can misbehave. Leaves no room of this name behind."""
    stack = await start_stack(site, LIVEKIT_SERVER_URL=proxy.url)
    yield stack
    with suppress(api.ServerError):
        await stack.livekit.room.delete_room(api.DeleteRoomRequest(room=NAME))


async def foreign_room(stack: Stack) -> api.Room:
    return await stack.livekit.room.create_room(api.CreateRoomRequest(name=NAME))


async def room_now(stack: Stack) -> api.Room | None:
    rooms = (await stack.livekit.room.list_rooms(api.ListRoomsRequest(names=[NAME]))).rooms
    return rooms[0] if rooms else None


async def stays(stack: Stack, made: api.Room) -> None:
    """The room is as it was made, also after two rounds of the reconciler."""
    reconciler = stack.new_reconciler()
    await reconciler.round()
    await reconciler.round()
    now = await room_now(stack)
    assert now is not None
    assert (now.sid, now.metadata) == (made.sid, made.metadata)
    dispatches = await stack.livekit.agent_dispatch.list_dispatch(NAME)
    assert not [one for one in dispatches if one.agent_name]  # LiveKit's own has no name


async def refused(stack: Stack) -> int:
    """The status of a request for a session in this room."""
    body = {"user_identity": "alice", "required_services": [], "room_name": NAME}
    async with stack.http.post("/api/v1/sessions", json=body) as answer:
        return answer.status


async def hung_up(stack: Stack, proxy: LiveKitProxy) -> tuple[Hold, str]:
    """A request whose client disconnected while LiveKit was asked for the room; and the id of its session."""
    proxy.on("CreateRoom", hold := Hold(), times=1)
    asking = asyncio.create_task(stack.request(prefer="wait=10", room_name=NAME))
    await hold.reached()
    asking.cancel()
    (session,) = [one for one in stack.store.list() if one.room_name == NAME]
    await stack.until(session.session_id, lambda latest: latest.over)
    return hold, session.session_id


async def test_room_taken_while_the_client_hung_up_stays(proxied: Stack, proxy: LiveKitProxy) -> None:
    """The session that it asked for is over and has no room; a blank room of that name is not its own."""
    hold, session_id = await hung_up(proxied, proxy)
    made = await foreign_room(proxied)
    hold.release()
    await over(proxied, session_id)
    await stays(proxied, made)


async def test_room_made_for_a_client_that_hung_up_is_deleted(proxied: Stack, proxy: LiveKitProxy) -> None:
    hold, session_id = await hung_up(proxied, proxy)
    hold.release()
    await over(proxied, session_id)
    assert await room_now(proxied) is None


async def test_failed_creation_leaves_a_room_of_another_alone(proxied: Stack, proxy: LiveKitProxy) -> None:
    """The room was made between our question whether the name is free and the failure."""
    made: list[api.Room] = []

    async def fails_meanwhile(call: object) -> object:
        made.append(await foreign_room(proxied))
        return await dropped(call)  # type: ignore[arg-type]

    proxy.on("CreateRoom", fails_meanwhile)
    assert await refused(proxied) == 503
    (session,) = [one for one in proxied.store.list() if one.room_name == NAME]
    await over(proxied, session.session_id)
    await stays(proxied, made[0])


async def test_room_whose_creation_was_not_confirmed_is_deleted(proxied: Stack, proxy: LiveKitProxy) -> None:
    """Its metadata names the session: LiveKit made it, and only the answer was lost."""
    proxy.on("CreateRoom", answer_lost, times=1)
    assert await refused(proxied) == 503
    await eventually("no room", lambda: room_now(proxied), lambda room: room is None, every=0.05)


async def test_room_that_took_the_name_of_a_deleted_one_is_not_written_to(proxied: Stack) -> None:
    """Neither metadata nor dispatches nor removals nor the end of the session reach it."""
    session = await proxied.request(prefer="wait=10", room_name=NAME)
    lost = proxied.store.get(session["session_id"])
    await proxied.livekit.room.delete_room(api.DeleteRoomRequest(room=NAME))
    made = await foreign_room(proxied)
    rooms = proxied.app[ROOMS]
    with pytest.raises(RoomMissing):
        await rooms.show_status(lost)
    with pytest.raises(RoomMissing):
        await rooms.dispatch_manager(lost, 2)
    with pytest.raises(RoomTaken):
        await rooms.create(lost_as_new(lost))
    await rooms.delete(NAME, sid=lost.room.sid, session_id=lost.session_id)
    await over(proxied, lost.session_id)
    await stays(proxied, made)


def lost_as_new(session: Session) -> Session:
    """Another session that asks for the same name."""
    return Session("ses_other", session.room_name, session.user, session.created_at)


async def test_room_of_a_session_is_deleted_by_its_sid_whatever_its_metadata(proxied: Stack) -> None:
    session = await proxied.request(prefer="wait=10", room_name=NAME)
    room = await room_now(proxied)
    assert room is not None
    assert RoomStatus.read(room.metadata) is not None
    await proxied.livekit.room.update_room_metadata(api.UpdateRoomMetadataRequest(room=NAME, metadata="mine"))
    await (await proxied.http.delete(f"/api/v1/sessions/{session['session_id']}")).release()
    await eventually("no room", lambda: room_now(proxied), lambda room: room is None)
