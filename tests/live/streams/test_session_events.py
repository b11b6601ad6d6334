"""The event stream of a session on a real livekit-server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc

from manager_agent.livekit.room_connection import connect
from tests.event_stream import EventSource
from tests.live.bots import CONNECT_TIMEOUT, QUIETLY
from tests.live.conftest import Stack

pytestmark = pytest.mark.live


async def test_session_stream_shows_services_user_and_end(stack: Stack) -> None:
    """From waiting to ready to active to ended, and each service on its way; with what is seen last, nothing is left
    to be told."""
    asr, llm = await stack.bot("asr"), await stack.bot("llm")
    requested = await stack.request("asr", "llm")
    reader = EventSource(stack.http, f"/api/v1/sessions/{requested['session_id']}/events")
    told: list[dict[str, Any]] = []
    user = rtc.Room()
    acting: list[asyncio.Task[Any]] = []

    async def user_joins() -> None:
        async with stack.http.post(f"/api/v1/sessions/{requested['session_id']}/token") as answer:
            session = await answer.json()
        await connect(user, session["server_url"], session["access_token"], QUIETLY, CONNECT_TIMEOUT)

    async def both_join() -> None:
        await asyncio.gather(asr.invited(), llm.invited())
        await asr.join()
        await llm.join()

    async def user_ends_it() -> None:
        async with stack.http.delete(f"/api/v1/sessions/{requested['session_id']}") as answer:
            assert answer.status == 200

    first_seen = {"waiting": both_join, "ready": user_joins, "active": user_ends_it}
    async for session in reader.follow():
        told.append(session)
        if happens := first_seen.pop(session["state"], None):
            acting.append(asyncio.create_task(happens()))
    await asyncio.gather(*acting)
    await user.disconnect()

    states = [session["state"] for session in told]
    assert [state for at, state in enumerate(states) if state not in states[:at]] == [
        "waiting",
        "ready",
        "active",
        "ended",
    ]
    assert (told[-1]["state"], told[-1]["reason"]) == ("ended", "closed")
    revisions = [session["revision"] for session in told]
    assert revisions == sorted(set(revisions))
    assert reader.last_id == str(revisions[-1])
    one_of_two = [{s["service_id"]: s["state"] for s in session["services"]} for session in told]
    assert any(seen["asr"] == "ready" and seen["llm"] != "ready" for seen in one_of_two)
    assert not any("access_token" in session for session in told)
