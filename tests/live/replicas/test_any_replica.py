"""What is written through one replica is read, waited for and changed through any other."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.api.streams.feed_reader import LINE_MAX, PATH, Feed
from tests.event_stream import EventSource
from tests.live.humans import Human
from tests.live.replicas.conftest import StartSite
from tests.live.replicas.replica import ReplicaProcess
from tests.tenants import bearer

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]


async def test_session_is_served_through_every_replica(start_site: StartSite) -> None:
    site = await start_site(replicas=3)
    first, second, third = site.replicas
    bot = await site.bot("asr", ready_on="signal")
    async with third.http.get(PATH, timeout=aiohttp.ClientTimeout(total=None), read_bufsize=LINE_MAX) as answer:
        feed = Feed(answer)
        await feed.until("snapshot")
        opened = await site.request(first, "asr")
        session_id = opened["session_id"]
        assert await state_through(second, session_id) == "waiting"
        streamed: list[str] = []
        streaming = asyncio.create_task(stream(third, session_id, streamed))
        waiting = asyncio.create_task(third.ask("GET", f"/sessions/{session_id}", Prefer="wait=30"))
        invite = await bot.invited()
        await bot.join(invite)
        ready = f"/sessions/{session_id}/ready"
        status, said = await second.ask("POST", ready, {"service_id": "asr"}, **bearer(invite.token or ""))
        assert status == 200, said
        status, shown = await waiting
        assert (status, shown["state"]) == (200, "ready")
        assert await state_through(first, session_id) == "ready"

        status, token = await second.ask("POST", f"/sessions/{session_id}/token")
        assert status in (200, 201), token
        user = Human()
        await user.join(shown | token)
        for replica in site.replicas:
            await replica.until(session_id, "active")
        _, listed = await third.ask("GET", "/sessions")
        assert [one["session_id"] for one in listed["sessions"]] == [session_id]

        status, ended = await third.ask("DELETE", f"/sessions/{session_id}")
        assert (status, ended["reason"]) == (200, "closed")
        assert await state_through(first, session_id) == "ended"
        await asyncio.wait_for(streaming, 30)
        assert (streamed[0], streamed[-1]) == ("waiting", "ended")
        assert {"ready", "active"} <= set(streamed)
        await feed.until("session", lambda told: (told["session_id"], told["state"]) == (session_id, "ended"))
        await user.is_out()
        assert (await bot.told_goodbye()).reason == "closed"
        assert (len(bot.invites), len(bot.session_ended_messages)) == (1, 1)


async def test_repeated_request_through_another_replica_finds_the_session(start_site: StartSite) -> None:
    site = await start_site(replicas=2)
    first, second = site.replicas
    bot = await site.bot("asr")
    body: dict[str, Any] = {"user_identity": "alice", "required_services": ["asr"]}
    headers = {"Prefer": "wait=40", "Idempotency-Key": "once"}
    original = asyncio.create_task(first.ask("POST", "/sessions", body, **headers))
    invite = await bot.invited()
    status, conflict = await second.ask("POST", "/sessions", body, **headers)
    assert status == 409, conflict
    await bot.join(invite)
    status, opened = await original
    assert (status, opened["state"]) == (201, "ready")
    status, repeated = await second.ask("POST", "/sessions", body, **headers)
    assert (status, repeated["session_id"]) == (201, opened["session_id"])
    status, reused = await second.ask("POST", "/sessions", body | {"user_identity": "bob"}, **headers)
    assert status == 422, reused
    assert len(bot.invites) == 1


async def state_through(replica: ReplicaProcess, session_id: str) -> str:
    """At once: the first answer counts."""
    status, session = await replica.ask("GET", f"/sessions/{session_id}")
    assert status == 200, session
    return str(session["state"])


async def stream(replica: ReplicaProcess, session_id: str, states: list[str]) -> None:
    """Take down the states of the session's stream, until its end."""
    async for shown in EventSource(replica.http, f"/api/v1/sessions/{session_id}/events").connect():
        states.append(shown["state"])
