"""The Python client with a real livekit-server."""

from __future__ import annotations

import asyncio

import pytest
from livekit import rtc

from manager_agent.livekit.room_connection import connect, disconnect
from session_manager_client import ApiError, Client
from tests.live.bots import CONNECT_TIMEOUT, QUIETLY
from tests.live.conftest import Site, Stack, StartStack
from tests.waiting import waiting_for

pytestmark = pytest.mark.live


async def test_client_creates_joins_follows_and_closes_a_session(stack: Stack) -> None:
    bot = await stack.bot("asr-service")
    room, seen = rtc.Room(), []
    async with Client(stack.url) as client:
        created = await client.create(user_identity="alice", required_services=["asr-service"])

        async def follow() -> None:
            seen.extend([session.state async for session in client.follow(created.session_id)])

        following = asyncio.create_task(follow())
        await bot.invited()
        await bot.join()
        ready = await client.until_ready(created.session_id)
        await connect(room, ready.server_url, ready.access_token, QUIETLY, CONNECT_TIMEOUT)
        await stack.until(created.session_id, lambda session: session.state == "active")
        further = await client.add_participant(created.session_id, identity="bob")
        assert further.room_name == room.name == ready.room_name
        await client.close(created.session_id)
        async with waiting_for("the last state", lambda: seen):
            await following
        await disconnect(room)
    assert list(dict.fromkeys(seen)) == ["waiting", "ready", "active", "ended"]
    assert (await bot.told_goodbye()).session.session_id == created.session_id


async def test_leaving_the_session_block_deletes_the_room(stack: Stack) -> None:
    async with Client(stack.url) as client:
        async with client.session(required_services=[]) as s:
            assert s.room_name in await stack.rooms()
        await stack.until(s.session_id, lambda session: session.end is not None and session.end.cleaned_at is not None)
        assert s.room_name not in await stack.rooms()


async def test_api_error_names_the_service_that_never_joined(start_stack: StartStack, site: Site) -> None:
    stack = await start_stack(site, ready_timeout=2)
    await stack.bot("asr-service")
    async with Client(stack.url) as client:
        with pytest.raises(ApiError, match="asr-service: never_joined") as caught:
            async with client.session(required_services=["asr-service"]):
                raise AssertionError("it can't be ready")
    assert caught.value.slug == "not_ready"


async def test_deep_health_proof_shows_that_webhooks_arrive(stack: Stack) -> None:
    async with Client(stack.url) as client:
        proof = await client.proof()
    assert proof.webhooks == "arrived"
    assert proof.took_ms > 0
