"""The job of a manager is taken by the process that dispatched it. LiveKit's offer finds the place taken, or is the
net."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import api

from manager_agent.livekit import calls
from manager_agent.livekit.calls import LiveKitCalls
from manager_agent.messages import DispatchMetadata
from manager_agent.session.session import SessionState
from tests.live.conftest import Site, Stack, StartStack
from tests.live.managers import is_watched, managers, take_no_job, worker_name
from tests.livekit_faults import Hold
from tests.livekit_proxy import LiveKitProxy
from tests.waiting import eventually

pytestmark = pytest.mark.live

NOWHERE = "ws://127.0.0.1:1"


def offers_are_refused(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    server = stack.manager._server
    assert server is not None
    monkeypatch.setattr(server, "_is_available", lambda: False)


async def test_manager_needs_no_offer_of_its_job(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    offers_are_refused(stack, monkeypatch)
    session = await stack.request(prefer="wait=10")
    watched = await stack.until(session["session_id"], is_watched)
    assert await managers(stack, session["room_name"]) == [watched.manager.identity]
    assert stack.manager.rooms_held == 1


async def test_offer_of_a_job_that_was_taken_makes_no_second_manager(stack: Stack) -> None:
    sessions = [await stack.request(user_identity=f"user-{number}", prefer="wait=10") for number in range(4)]
    watched = [await stack.until(session["session_id"], is_watched) for session in sessions]
    for session in watched:  # on a slow machine, the first offer may have come before the job could be taken
        again = DispatchMetadata(session_id=session.session_id, attempt=session.manager.attempt).model_dump_json()
        await stack.livekit.agent_dispatch.create_dispatch(
            api.CreateAgentDispatchRequest(room=session.room_name, agent_name=worker_name(stack), metadata=again)
        )
    await stack.logged("job_taken_already", times=len(watched))
    for session in watched:
        assert await managers(stack, session.room_name) == [session.manager.identity]
    assert stack.manager.rooms_held == len(watched)


async def test_room_has_the_dispatch_before_its_manager(stack: Stack) -> None:
    """The dispatches are the record: the next process reads in them which identities are spent."""
    session = await stack.request(prefer="wait=10")
    first = await stack.until(session["session_id"], is_watched)
    await stack.livekit.room.remove_participant(
        api.RoomParticipantIdentity(room=session["room_name"], identity=first.manager.identity or "")
    )
    await stack.until(session["session_id"], lambda s: is_watched(s) and s.manager.identity != first.manager.identity)
    dispatches = await stack.livekit.agent_dispatch.list_dispatch(session["room_name"])
    assert len(dispatches) == 2


async def test_manager_that_livekit_does_not_let_in_is_followed_by_one_that_it_offers(stack: Stack) -> None:
    """The first job, which is taken at once, can't connect; the next one is LiveKit's."""
    stack.manager._url = NOWHERE
    session = await stack.request(prefer="wait=10")
    watched = await stack.until(session["session_id"], is_watched)
    assert watched.manager.attempt >= 2
    assert watched.state is SessionState.READY
    assert await managers(stack, session["room_name"]) == [watched.manager.identity]


async def test_offered_manager_that_can_not_connect_is_dispatched_again(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first job can't connect; the next one can."""
    take_no_job(monkeypatch)
    server = stack.manager._server
    assert server is not None
    server._ws_url, right = NOWHERE, server._ws_url
    session = await stack.request(prefer="wait=10")
    await stack.until(session["session_id"], lambda s: len(s.manager.spent) >= 1)
    server._ws_url = right
    watched = await stack.until(session["session_id"], is_watched)
    assert watched.manager.attempt >= 2
    assert watched.state is SessionState.READY


async def test_job_that_was_offered_before_it_could_be_taken_is_not_taken_again(
    start_stack: StartStack, site: Site, proxy: LiveKitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiveKit has made the room and offers the job, and only then answers that it made the room."""
    # A LiveKit that does not answer would be given up.
    monkeypatch.setattr(calls, "CHECK_PAUSE", 3_600.0)
    calling: Any = LiveKitCalls._calling
    monkeypatch.setattr(calling.__wrapped__, "__defaults__", (3_600.0,))
    stack = await start_stack(site, LIVEKIT_SERVER_URL=proxy.url)
    proxy.on("CreateRoom", hold := Hold(answers=True))
    asking = asyncio.create_task(stack.request(room_name="demo", prefer="wait=10"))
    await eventually("a manager", lambda: managers(stack, "demo"), bool)
    hold.release()
    session = await asking
    watched = await stack.until(session["session_id"], lambda s: is_watched(s) and s.room.created_at is not None)
    assert await managers(stack, "demo") == [watched.manager.identity]
    assert stack.manager.rooms_held == 1


async def test_stopped_agent_has_left_its_rooms_and_takes_no_more_jobs(start_stack: StartStack, site: Site) -> None:
    stack = await start_stack(site)
    session = await stack.request(prefer="wait=10")
    await stack.until(session["session_id"], is_watched)
    await stack.manager.aclose()
    assert stack.manager.rooms_held == 0
    again = await stack.request(user_identity="bob", prefer="wait=10")
    await stack.until(again["session_id"], lambda s: s.manager.attempt == 2)
    assert await managers(stack, again["room_name"]) == []
