"""A livekit-server that is killed and started again: it has lost every room."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from manager_agent.session.session import SessionState
from tests.live.bots import Bot
from tests.live.conftest import Site, Stack, StartStack
from tests.live.humans import Human, ready_session
from tests.waiting import waiting_for

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

PATIENT = {"ready_timeout": 120, "user_join_timeout": 120}
"""Seconds. The sessions must outlast the outage on a busy machine."""


async def status(http: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    async with http.get(path) as answer:
        return answer.status, await answer.text()


async def is_not_ready(stack: Stack) -> str:
    """What /readyz says, once it is 503."""
    async with waiting_for("/readyz to be 503", stack.sessions):
        while (answer := await status(stack.http, "/readyz"))[0] != 503:
            await asyncio.sleep(0.05)
    return answer[1]


async def is_ready(stack: Stack) -> None:
    async with waiting_for("/readyz to be 200", stack.sessions):
        while (await status(stack.http, "/readyz"))[0] != 200:
            await asyncio.sleep(0.05)


async def invited_again(bot: Bot) -> None:
    """The bot gets a second invite, with another id and identity, and joins."""
    first = bot.invites[0]
    second = await bot.invited(2)
    assert (second.attempt, second.session) == (2, first.session)
    assert second.id != first.id
    assert second.identity != first.identity
    await bot.join(second)


async def test_waiting_and_ready_sessions_outlast_a_livekit_that_is_killed_and_active_ones_end(
    start_stack: StartStack, site: Site
) -> None:
    stack = await start_stack(site, **PATIENT)
    ready_bot, active_bot, waiting_bot = [await stack.bot(f"bot-{n}") for n in range(3)]
    ready = await ready_session(stack, ready_bot, user_identity="rita")
    active = await ready_session(stack, active_bot, user_identity="anna")
    user = Human()
    await user.join(active)
    await stack.until(active["session_id"], lambda s: s.state is SessionState.ACTIVE)
    waiting = await stack.request(waiting_bot.service_id, user_identity="wanda")
    await waiting_bot.invited()
    before = {one["session_id"]: stack.store.get(one["session_id"]) for one in (ready, waiting)}

    site.livekit.kill()
    assert "livekit" in (await is_not_ready(stack)).lower()
    async with stack.http.post("/api/v1/sessions", json={"user_identity": "late", "required_services": []}) as refused:
        assert (refused.status, (await refused.json())["type"].rsplit(":")[-1]) == (503, "room_unavailable")
        assert int(refused.headers["Retry-After"]) > 0
    await site.livekit.start()
    await is_ready(stack)

    await asyncio.gather(invited_again(ready_bot), invited_again(waiting_bot))
    for bot, session in ((ready_bot, ready), (waiting_bot, waiting)):
        again = await stack.until(session["session_id"], lambda s: s.state is SessionState.READY)
        was = before[session["session_id"]]
        assert (again.room.remakes, again.room.sid == was.room.sid) == (1, False)
        assert again.services[0].identity == bot.invites[-1].identity
        await stack.until(session["session_id"], lambda s: s.manager.presence.here)
    lost = stack.logged_of(ready["session_id"], "session_state")
    assert ("ready", "waiting") in [(entry["before"], entry["state"]) for entry in lost]
    again = stack.store.get(ready["session_id"])
    assert again.waiting_again_since is not None
    assert stack.store.get(waiting["session_id"]).ready_deadline == before[waiting["session_id"]].ready_deadline

    fresh = await stack.view(ready["session_id"])
    rita = Human()
    await rita.join(fresh)
    await stack.until(ready["session_id"], lambda s: s.state is SessionState.ACTIVE)
    ended = await stack.until(active["session_id"], lambda s: s.over)
    assert ended.end is not None
    assert ended.end.reason == "room_closed"
    await rita.leave()
    await user.leave()
