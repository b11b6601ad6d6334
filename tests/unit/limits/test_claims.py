"""Of requests with one Idempotency-Key at several replicas, one is executed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from functools import partial

import pytest

from http_api.errors import IdempotencyConflict, IdempotencyKeyReused
from http_api.limits.claims import IdempotencyClaims
from http_api.limits.idempotency_store import IdempotencyScope
from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.url import read_redis_url
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = pytest.mark.api

SCOPE, OTHER_SCOPE = (IdempotencyScope("app", "sessions_create", key) for key in ("k1", "k2"))
BODY, OTHER_BODY = b"\x01" * 32, b"\x02" * 32


async def committed() -> None:
    """All responses are kept."""


class ClaimingReplicas:
    def __init__(self, server: RedisServer, stack: AsyncExitStack) -> None:
        self._server, self._stack = server, stack
        self.dead: set[str] = set()

    def claims(self, replica_id: str) -> IdempotencyClaims:
        connection = RedisConnection(read_redis_url(self._server.url), self._server.deployment)
        self._stack.push_async_callback(connection.aclose)
        claims = IdempotencyClaims(connection, replica_id, lambda one: one not in self.dead, committed)
        self._stack.push_async_callback(claims.aclose)
        return claims


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def replicas(redis_server: RedisServer, stack: AsyncExitStack) -> ClaimingReplicas:
    return ClaimingReplicas(redis_server, stack)


async def until_taken(claims: IdempotencyClaims) -> None:
    async def is_taken() -> bool:
        with suppress(IdempotencyConflict, RedisAway):
            await claims.take(SCOPE, BODY)
            return True
        return False

    await eventually("the claim to end", is_taken)


async def test_one_of_several_requests_at_once_is_executed(replicas: ClaimingReplicas) -> None:
    each = [replicas.claims(f"r{nth}") for nth in range(3)]
    outcomes = await asyncio.gather(*(one.take(SCOPE, BODY) for one in each), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Claim"] + ["IdempotencyConflict"] * 2


async def test_a_claimed_key_is_refused_for_another_request(replicas: ClaimingReplicas) -> None:
    await replicas.claims("r1").take(SCOPE, BODY)
    with pytest.raises(IdempotencyKeyReused):
        await replicas.claims("r2").take(SCOPE, OTHER_BODY)


async def test_a_key_is_free_once_its_request_is_answered(replicas: ClaimingReplicas) -> None:
    first = replicas.claims("r1")
    first.end(await first.take(SCOPE, BODY))
    await until_taken(replicas.claims("r2"))


async def test_the_claim_of_a_dead_replica_is_taken_over_once(replicas: ClaimingReplicas) -> None:
    await replicas.claims("r1").take(SCOPE, BODY)
    replicas.dead.add("r1")
    each = [replicas.claims(f"r{nth}") for nth in (2, 3)]
    outcomes = await asyncio.gather(*(one.take(SCOPE, OTHER_BODY) for one in each), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Claim", "IdempotencyConflict"]


async def test_an_old_claim_that_ends_late_does_not_end_the_next_one(replicas: ClaimingReplicas) -> None:
    one = replicas.claims("r1")
    old = await one.take(SCOPE, BODY)
    new = await one.take(SCOPE, BODY)  # its own old claim does not keep a replica out
    await one._end(old)
    with pytest.raises(IdempotencyConflict):
        await replicas.claims("r2").take(SCOPE, BODY)
    await one._end(new)
    await replicas.claims("r2").take(SCOPE, BODY)


async def test_a_claim_ends_once_redis_is_back(
    stack: AsyncExitStack, own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("http_api.limits.announcements.RETRY_PAUSE", 0.01)
    replicas = ClaimingReplicas(own_redis_server, stack)
    first = replicas.claims("r1")
    claim = await first.take(SCOPE, BODY)
    own_redis_server.freeze()
    first.end(claim)
    with pytest.raises(RedisAway):
        await replicas.claims("r2").take(SCOPE, BODY)
    own_redis_server.thaw()
    await until_taken(replicas.claims("r2"))


async def test_claims_that_have_ended_end_again_after_redis_went_back(
    stack: AsyncExitStack, own_redis_server: RedisServer
) -> None:
    """Those of requests that are executed stay."""
    replicas = ClaimingReplicas(own_redis_server, stack)
    first, second = replicas.claims("r1"), replicas.claims("r2")
    ended, executed = await first.take(SCOPE, BODY), await first.take(OTHER_SCOPE, BODY)
    earlier = await own_redis_server.saved()
    first.end(ended)
    await eventually("the claim to end", partial(own_redis_server.command, "GET", ended.key), lambda found: not found)
    await own_redis_server.go_back_to(earlier)
    with pytest.raises(IdempotencyConflict):
        await second.take(SCOPE, BODY)
    await first.read_anew()
    await until_taken(second)
    assert await own_redis_server.command("GET", executed.key) == executed.value.encode()
