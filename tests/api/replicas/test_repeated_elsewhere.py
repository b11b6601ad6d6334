"""A token request that is repeated at another replica finds the session of the first one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from http_api.resources import repeated_requests
from http_api.resources.session_requests import SESSION_REQUESTS
from manager_agent.session.session import Session
from tests.api.stand_ins import Api
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = pytest.mark.api

AGENT = {"room_config": {"agents": [{"agent_name": "ASR"}]}}
ALICE = {**AGENT, "participant_identity": "alice"}


@pytest.fixture(autouse=True)
async def services(a: Api, b: Api) -> None:
    await a.register("asr-1")


def asks(api: Api, body: Any) -> asyncio.Task[tuple[int, Any, Any]]:
    return asyncio.create_task(api.ask("POST", "/token", body))


async def gives_up(api: Api, asking: asyncio.Task[Any]) -> None:
    asking.cancel()
    await api.has_waiting(0)


def live(api: Api) -> list[Session]:
    return [session for session in api.parts.store.list() if not session.over]


async def opened(api: Api) -> str:
    """The id of the only live session that this replica knows."""
    [session] = await eventually("one session", lambda: known(api))
    return session.session_id


async def known(api: Api) -> list[Session]:
    return live(api)


async def is_abandoned(server: RedisServer, session_id: str) -> bool:
    key = f"sm:{{{server.deployment}}}:repeated:{session_id}"
    return bool(await server.command("HEXISTS", key, "abandoned"))


async def lets_go(api: Api) -> bool:
    return not api.app[SESSION_REQUESTS].repeated._kept


async def test_a_user_who_asks_another_replica_gets_the_same_session(a: Api, b: Api) -> None:
    first = asks(a, ALICE)
    session_id = await opened(b)
    second = asks(b, ALICE)
    await b.has_waiting(1)
    assert (await b.say_ready(session_id, "asr-1"))[0] == 200
    for status, _, answer in await asyncio.gather(first, second):
        assert (status, bool(answer["participant_token"])) == (201, True)
    assert [session.session_id for session in live(b)] == [session_id]
    assert (await a.ask("DELETE", f"/sessions/{session_id}"))[0] == 200
    await b.until(session_id, lambda session: session.over)
    assert not b.app[SESSION_REQUESTS].repeated._borrowed


async def test_a_session_is_not_ended_that_another_replicas_client_took_up(
    a: Api, b: Api, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_requests, "KEPT", 2.0)
    first = asks(a, AGENT)
    session_id = await opened(b)
    await gives_up(a, first)
    await eventually("the session is abandoned", lambda: is_abandoned(redis_server, session_id))
    second = asks(b, AGENT)
    await b.has_waiting(1)
    await eventually("the first replica lets go of it", lambda: lets_go(a))
    assert (await b.say_ready(session_id, "asr-1"))[0] == 200
    assert (await second)[0] == 201
    assert [session.session_id for session in live(a)] == [session_id]


async def test_an_abandoned_session_ends_if_no_client_takes_it_up(
    a: Api, b: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_requests, "KEPT", 0.05)
    first = asks(a, AGENT)
    session_id = await opened(b)
    await gives_up(a, first)
    await b.until(session_id, lambda session: session.over)


async def test_clients_without_a_user_share_no_session_that_another_waits_for(a: Api, b: Api) -> None:
    first = asks(a, AGENT)
    session_id = await opened(b)
    second = asks(b, AGENT)
    sessions = await eventually("two sessions", lambda: known(a), lambda found: len(found) == 2)
    assert session_id in {session.session_id for session in sessions}
    for one in (first, second):
        one.cancel()
