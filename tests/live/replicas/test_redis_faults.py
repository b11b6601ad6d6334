"""Redis is away for a while, or comes back empty: rooms go on, what needs it gets 503, and it heals by itself."""

from __future__ import annotations

import asyncio

import pytest

from tests.live.replicas.act_audit import acts_of, double_owners
from tests.live.replicas.calls import ReplicaCall
from tests.live.replicas.conftest import StartSite
from tests.live.replicas.replica import ReplicaProcess
from tests.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

AWAY = 10.0
"""Seconds: longer than a lease."""


async def test_sessions_go_on_while_redis_is_away(start_site: StartSite) -> None:
    site = await start_site(replicas=2, own_redis=True, keeps=True)
    call = await ReplicaCall.of(site, await site.bot("asr"), site.replicas[0])
    before = await site.managers(call.room_name)
    site.redis.stop()
    for replica in site.replicas:
        await refuses(replica, "GET", f"/sessions/{call.id}")
        await refuses(replica, "POST", "/sessions", {"user_identity": "bob", "required_services": []})
        async with replica.http.get("/livez") as answer:
            assert answer.status == 200
        await eventually("it to be unready", replica.is_ready, lambda is_ready: not is_ready)
    await asyncio.sleep(AWAY)
    assert await site.managers(call.room_name) == before
    assert call.noticed == []
    site.redis.start()
    for replica in site.replicas:
        await replica.until_ready()
        await call.goes_on(replica)
    await site.owner(call.room_name)
    assert await ReplicaCall.of(site, await site.bot("tts"), call.others[0])
    await call.ends(call.others[0])
    assert double_owners(acts_of(site.ever)) == []


async def test_sessions_are_recovered_from_rooms_when_redis_comes_back_empty(start_site: StartSite) -> None:
    site = await start_site(replicas=2, own_redis=True)
    call = await ReplicaCall.of(site, await site.bot("asr"), site.replicas[0])
    waiting_bot = await site.bot("tts")
    waiting = await site.request(call.others[0], "tts")
    await waiting_bot.invited()
    site.redis.restart()
    for replica in site.replicas:
        await replica.until_ready()
        await call.goes_on(replica)
    await site.owner(call.room_name)
    await waiting_bot.join()
    for replica in site.replicas:
        await replica.until(waiting["session_id"], "ready")
    assert len({invite.id for invite in waiting_bot.invites}) == 1
    assert await site.redis.command("DBSIZE") > 0
    await call.ends(call.others[0])
    assert double_owners(acts_of(site.ever)) == []


async def refuses(replica: ReplicaProcess, method: str, path: str, body: object = None) -> None:
    """It says when to try again."""
    async with replica.http.request(method, f"/api/v1{path}", json=body) as answer:
        problem = await answer.json()
        assert (answer.status, "Retry-After" in answer.headers) == (503, True), problem
        assert problem["type"].endswith((":redis_unavailable", ":not_acting")), problem
