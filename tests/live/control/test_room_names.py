"""Room names that are used again: tokens of the earlier sessions of a name open no room of a later one."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import jwt
import pytest
from livekit import api, rtc

from http_api.limits.waiters import WAITERS
from manager_agent.control import orchestrator
from manager_agent.livekit import join_slots
from tests.live.conftest import Site, Stack, StartStack
from tests.live.humans import Human, ready_session
from tests.live.managers import is_watched
from tests.livekit_faults import Hold
from tests.livekit_proxy import LiveKitProxy
from tests.waiting import eventually

pytestmark = pytest.mark.live

NAME = "standup"


async def close(stack: Stack, session: dict[str, Any]) -> None:
    """End it once its manager is there: one that joins for long keeps the name of the room taken."""
    await stack.until(session["session_id"], is_watched)
    await (await stack.http.delete(f"/api/v1/sessions/{session['session_id']}")).release()


async def ended(stack: Stack, **more: Any) -> dict[str, Any]:
    """A session of this room that has ended, with the token that it gave out."""
    session = await stack.request(prefer="wait=10", room_name=NAME, **more)
    await close(stack, session)
    return session


async def identities(stack: Stack) -> list[str]:
    with suppress(api.ServerError):
        return sorted(one.identity for one in await stack.participants(NAME) if not one.permission.hidden)
    return []


async def test_owner_restarts_at_once_and_old_tokens_open_nothing(stack: Stack) -> None:
    """The second session has another room; a participant with a token of the first one is removed, also under the
    identity of its user, and is not taken for that user."""
    first = await ended(stack)
    second = await stack.request(prefer="wait=10", room_name=NAME)
    session = stack.store.get(second["session_id"])
    assert session.room.sid != stack.store.get(first["session_id"]).room.sid
    late = Human()
    await late.join(first)
    await late.is_out()
    assert stack.store.get(second["session_id"]).user_joined_at is None
    alice = Human()
    await alice.join(second)
    await stack.until(second["session_id"], lambda latest: latest.user_presence.here)
    assert await identities(stack) == ["alice"]
    await alice.leave()


async def test_old_token_of_a_service_opens_nothing(stack: Stack) -> None:
    bot = await stack.bot("asr")
    first = await ready_session(stack, bot, room_name=NAME)
    invite = bot.invites[0]
    await close(stack, first)
    await stack.request(prefer="wait=10", room_name=NAME)
    await bot.join(invite)
    await eventually("an empty room", lambda: identities(stack), lambda left: not left, every=0.05)


@pytest.mark.parametrize("webhooks", [True, False])
async def test_old_token_in_a_foreign_room_is_removed_and_the_room_stays(
    start_stack: StartStack, site: Site, silent_site: Site, webhooks: bool
) -> None:
    """Without webhooks the reconciler finds it. Others in that room stay too."""
    stack = await start_stack(site if webhooks else silent_site)
    first = await ended(stack)
    made = await stack.livekit.room.create_room(api.CreateRoomRequest(name=NAME))
    grants = api.VideoGrants(room_join=True, room=NAME)
    token = api.AccessToken("devkey", "secret").with_identity("stranger").with_grants(grants).to_jwt()
    stranger, late = rtc.Room(), rtc.Room()
    await stranger.connect(stack.site.livekit.url, token)
    await late.connect(stack.site.livekit.url, first["access_token"])
    reconciler = stack.new_reconciler()

    async def found() -> list[str]:
        if not webhooks:
            await reconciler.round()
        return await identities(stack)

    await eventually("the stranger alone", found, lambda here: here == ["stranger"], every=0.1)
    rooms = (await stack.livekit.room.list_rooms(api.ListRoomsRequest(names=[NAME]))).rooms
    assert [room.sid for room in rooms] == [made.sid]
    await asyncio.gather(stranger.disconnect(), late.disconnect())
    await stack.livekit.room.delete_room(api.DeleteRoomRequest(room=NAME))


async def test_token_request_waits_for_the_room_name(start_stack: StartStack, site: Site, proxy: LiveKitProxy) -> None:
    """While the last room of that name is being deleted. If that takes long, the name is quarantined for 30 s."""
    stack = await start_stack(site, LIVEKIT_SERVER_URL=proxy.url, ready_timeout=60)
    first = await stack.request(prefer="wait=10", room_name=NAME)
    proxy.on("DeleteRoom", hold := Hold(), times=1)
    closing = asyncio.create_task(stack.http.delete(f"/api/v1/sessions/{first['session_id']}"))
    await hold.reached()
    body = {"room_name": NAME, "participant_identity": "alice", "room_config": {"agents": [{"agent_name": "asr"}]}}
    bot = await stack.bot("asr")
    asking = asyncio.create_task(stack.http.post("/api/v1/token", json=body))

    async def waiting() -> int:
        return stack.app[WAITERS].count

    await eventually("the request to wait", waiting)
    assert not bot.invites
    hold.release()
    await bot.invited()
    await bot.join()
    answer = await asking
    assert answer.status == 201
    await (await closing).release()


async def test_manager_that_still_joins_as_its_session_ends_keeps_no_room_name_taken(
    start_stack: StartStack, site: Site, proxy: LiveKitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its join would make the room again, so the room is deleted after it."""
    for module, name in ((join_slots, "HELD_MAX"), (orchestrator, "SETTLE_TIMEOUT")):
        monkeypatch.setattr(module, name, 3_600.0)  # a busy machine needs longer than either
    stack = await start_stack(site, LIVEKIT_SERVER_URL=proxy.url)
    proxy.joins = hold = Hold()
    first = await stack.request(prefer="wait=10", room_name=NAME)
    await hold.reached()
    closing = asyncio.create_task(stack.http.delete(f"/api/v1/sessions/{first['session_id']}"))
    await stack.until(first["session_id"], lambda latest: latest.over)
    await asyncio.wait([closing], timeout=0.5)
    assert proxy.requests("DeleteRoom") == []
    hold.release()
    await (await closing).release()
    assert len(proxy.requests("DeleteRoom")) == 1
    await (await stack.http.delete(f"/api/v1/sessions/{(await stack.request(room_name=NAME))['session_id']}")).release()


async def test_service_that_returns_to_a_deleted_room_is_removed_and_the_room_closes(stack: Stack) -> None:
    """Its token is still valid. The room that it opened again, which is of no session, is left to LiveKit."""
    bot = await stack.bot("asr")
    session = await ready_session(stack, bot, room_name=NAME)
    await close(stack, session)
    # Long enough for a busy machine to join: agents alone keep no room open.
    await stack.livekit.room.create_room(api.CreateRoomRequest(name=NAME, empty_timeout=10, departure_timeout=1))
    await bot.join(bot.invites[0])
    await eventually("an empty room", lambda: identities(stack), lambda left: not left, every=0.1)

    async def rooms() -> list[str]:
        return [room.name for room in (await stack.livekit.room.list_rooms(api.ListRoomsRequest(names=[NAME]))).rooms]

    await eventually("no room", rooms, lambda left: not left, every=0.2)


async def test_token_of_a_session_names_it(stack: Stack) -> None:
    session = await stack.request(prefer="wait=10", room_name=NAME, user_attributes={"session.id": "another"})
    claims = jwt.decode(session["access_token"], options={"verify_signature": False})
    assert claims["attributes"]["session.id"] == session["session_id"]
    assert claims["exp"] > time.time()
