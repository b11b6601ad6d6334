"""A request with an Idempotency-Key is executed once, whatever its first replica has lost."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from http_api.limits.claims import CLAIMS
from http_api.resources.session_requests import SESSION_REQUESTS, SessionRequests
from manager_agent.records.redis import RedisRecords
from manager_agent.redis.connection import RedisAway
from tests.api.replicas.conftest import StartReplica
from tests.api.stand_ins import Api
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = pytest.mark.api

BODY = {"user_identity": "alice", "required_services": []}


async def create(api: Api, body: object = BODY) -> tuple[int, str, Any]:
    """Status, problem and session."""
    status, headers, answer = await api.ask("POST", "/sessions", body, {"Idempotency-Key": "k1"})
    if status == 503:
        assert headers["Retry-After"] == "1"
    return status, str(answer.get("type", "")).rpartition(":")[2], answer


def sessions(api: Api) -> list[str]:
    return [session.session_id for session in api.parts.store.list()]


def created(answer: tuple[int, str, Any]) -> bool:
    return answer[0] == 201


def in_time(answer: tuple[int, str, Any]) -> bool:
    """Whether the machine was not too busy for Redis to be asked in time."""
    return answer[0] != 503


async def refused(api: Api) -> None:
    answer = await eventually("an answer", partial(create, api), in_time)
    assert answer[:2] == (409, "idempotency_conflict")


async def test_a_key_is_claimed_until_the_response_is_kept(a: Api, b: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first replica has executed the request, and can't have its response kept for a while."""
    records = a.parts.records
    assert isinstance(records, RedisRecords)

    async def away(_: object) -> None:
        raise RedisAway("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(records, "_write_group", away)
        assert (await create(a))[:2] == (503, "redis_unavailable")
        [session_id] = sessions(a)
        for _ in range(3):
            assert (await create(a))[:2] == (503, "redis_unavailable")
            await refused(b)
    for api in (b, a):
        _, _, session = await eventually("the response", partial(create, api), created)
        assert session["session_id"] == session_id
    assert sessions(b) == [session_id]


async def test_a_frozen_replica_adds_no_session_for_a_request_that_another_one_has_executed(
    a: Api, b: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had found no earlier session, and goes on once its claim is the other one's."""
    has_begun, goes_on, check = asyncio.Event(), asyncio.Event(), SessionRequests.check_livekit

    async def frozen(requests: SessionRequests) -> None:
        if requests is a.app[SESSION_REQUESTS]:
            has_begun.set()
            await goes_on.wait()
        await check(requests)

    monkeypatch.setattr(SessionRequests, "check_livekit", frozen)
    first = asyncio.create_task(create(a))
    await has_begun.wait()
    await refused(b)
    claims = b.app[CLAIMS]
    assert claims is not None
    monkeypatch.setattr(claims, "_is_alive", lambda _: False)
    _, _, session = await eventually("the session", partial(create, b), created)
    goes_on.set()
    assert (await first)[0] == 503
    for api in (a, b):
        assert (await eventually("the response", partial(create, api), created))[2] == session
        assert sessions(api) == [session["session_id"]]


async def test_a_claim_that_redis_has_again_after_it_went_back_ends_again(
    start_replica: StartReplica, own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request has failed, so no response is kept that other replicas could find."""
    a, b = [await start_replica(own_redis_server) for _ in range(2)]
    while_claimed: list[list[tuple[bytes, bytes]]] = []
    check = SessionRequests.check_livekit

    async def checked(requests: SessionRequests) -> None:
        while_claimed.append(await own_redis_server.saved())
        await check(requests)

    monkeypatch.setattr(SessionRequests, "check_livekit", checked)
    ask = partial(create, body={"user_identity": "alice", "required_services": [{"type": "ASR"}]})
    failed = (424, "service_not_available")
    await eventually("an answer", partial(ask, a), lambda answer: answer[:2] == failed)
    await eventually("the end of the claim", partial(ask, b), lambda answer: answer[:2] == failed)
    assert (await a.ask("POST", "/sessions", BODY))[0] == 201  # by what is lost Redis is known to have gone back
    await own_redis_server.go_back_to(while_claimed[0])
    await eventually("the end of the claim", partial(ask, b), lambda answer: answer[:2] == failed)
