"""The reconciler: rooms without a session, sessions without a room, and joins that no event reported."""

from __future__ import annotations

import asyncio

import pytest
from livekit import api

from manager_agent.messages import RoomStatus
from manager_agent.session import events as ev
from manager_agent.session.session import EndReason, Session, SessionState
from tests.live.conftest import Site, Stack, StartStack
from tests.live.humans import ready_session

pytestmark = pytest.mark.live


def status(session_id: str, deployment: str, *, is_over: bool) -> str:
    room = RoomStatus(
        deployment=deployment,
        session_id=session_id,
        state=SessionState.ENDED if is_over else SessionState.ACTIVE,
        reason=EndReason.CLOSED if is_over else None,
        services=[],
        manager_identity=None,
        revision=1,
    )
    return room.model_dump_json()


async def test_rooms_of_sessions_that_are_over_are_deleted(stack: Stack) -> None:
    """Only when they have no session twice in a row, and only those of this deployment. A room whose session can't be
    recovered is left alone: people may be in it."""
    rooms = {
        "left-behind": status("ses_of_a_process_that_died", "default", is_over=True),
        "unreadable": status("ses_that_was_not_recorded", "default", is_over=False),
        "another-deployment": status("ses_1", "staging", is_over=True),
        "somebody-elses": "",
        "something-else": '{"session_manager": "no"}',
    }
    for name, metadata in rooms.items():
        await stack.livekit.room.create_room(api.CreateRoomRequest(name=name, metadata=metadata))
    session = await stack.request(prefer="wait=10")
    reconciling = stack.new_reconciler()
    await reconciling.round()
    assert set(await stack.rooms()) == {*rooms, session["room_name"]}
    for _ in range(2):
        await reconciling.round()
        assert set(await stack.rooms()) == {*rooms, session["room_name"]} - {"left-behind"}
    async with stack.http.get("/health") as answer:
        assert (await answer.json())["unreadable_rooms"] == 1
    for name in await stack.rooms():
        await stack.livekit.room.delete_room(api.DeleteRoomRequest(room=name))


async def test_deleted_room_is_made_again_without_a_webhook(start_stack: StartStack, silent_site: Site) -> None:
    stack = await start_stack(silent_site)
    session = await ready_session(stack, await stack.bot("asr"))
    await stack.manager.aclose()
    await stack.livekit.room.delete_room(api.DeleteRoomRequest(room=session["room_name"]))
    sid = stack.store.get(session["session_id"]).room.sid
    await stack.new_reconciler().round()

    def has_another_room(latest: Session) -> bool:
        return latest.room.sid not in ("", sid)

    await stack.until(session["session_id"], has_another_room)


async def test_session_becomes_ready_without_webhooks_and_room_events(
    start_stack: StartStack, silent_site: Site
) -> None:
    """One webhook had come, which ends the frequent listings; then there are neither webhooks nor a manager."""
    stack = await start_stack(silent_site, ready_timeout=60)
    bot = await stack.bot("asr")
    session = await stack.request("asr")
    await stack.store.update(session["session_id"], ev.WebhookArrived(stack.clock()))
    await stack.manager.aclose()
    await asyncio.gather(bot.invited())
    await bot.join()

    def is_ready(latest: Session) -> bool:
        return latest.state is SessionState.READY

    await stack.until(session["session_id"], is_ready)
