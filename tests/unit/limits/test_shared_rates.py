"""Rate limits that several replicas keep together, in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from http_api.limits.gcra import Allowance, Rate
from http_api.limits.shared_rates import SharedRate, SharedRates
from manager_agent.clock import SteadyClock
from manager_agent.redis.connection import RedisConnection
from manager_agent.redis.url import read_redis_url
from tests.redis_server import RedisServer

pytestmark = pytest.mark.api

SLOW = Rate(per_second=0.01, burst=20)
"""Nothing is paid off while a test runs."""


class RatedReplicas:
    def __init__(self, server: RedisServer, stack: AsyncExitStack) -> None:
        self._server, self._stack = server, stack

    async def counter(self, rate: Rate = SLOW, kind: str = "principals") -> SharedRate:
        """That of one more replica."""
        connection = RedisConnection(read_redis_url(self._server.url), self._server.deployment)
        self._stack.push_async_callback(connection.aclose)
        rates = SharedRates(connection, rate, SteadyClock())
        self._stack.push_async_callback(rates.aclose)
        return rates.counter(kind)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def replicas(redis_server: RedisServer, stack: AsyncExitStack) -> RatedReplicas:
    return RatedReplicas(redis_server, stack)


async def taken(counter: SharedRate, times: int, name: str = "a") -> list[Allowance]:
    return await asyncio.gather(*(counter.take(name) for _ in range(times)))


def granted(allowances: list[Allowance]) -> int:
    return sum(allowance.granted for allowance in allowances)


async def test_one_burst_passes_through_all_replicas_together(replicas: RatedReplicas) -> None:
    counters = [await replicas.counter() for _ in range(3)]
    allowances = await asyncio.gather(*(taken(counter, 30) for counter in counters))
    assert sum(map(granted, allowances)) == SLOW.burst
    refused = next(one for each in allowances for one in each if not one.granted)
    assert refused.remaining == 0
    assert 0 < refused.retry_after <= SLOW.interval


async def test_each_request_of_a_burst_learns_what_is_left_after_it(replicas: RatedReplicas) -> None:
    allowances = await taken(await replicas.counter(), 5)
    assert [one.remaining for one in allowances] == [19, 18, 17, 16, 15]
    assert [one.remaining for one in await taken(await replicas.counter(), 1)] == [14]


async def test_senders_and_kinds_are_counted_apart(replicas: RatedReplicas) -> None:
    one, other = await replicas.counter(), await replicas.counter(kind="public")
    assert granted(await taken(one, 30)) == SLOW.burst
    assert granted(await taken(one, 30, name="b")) == SLOW.burst
    assert granted(await taken(other, 30)) == SLOW.burst


async def test_a_sender_may_go_on_once_its_requests_are_paid_off(replicas: RatedReplicas) -> None:
    counter = await replicas.counter(Rate(per_second=200, burst=1))
    assert granted(await taken(counter, 2)) == 1
    while not (await counter.take("a")).granted:
        await asyncio.sleep(0.001)


async def test_what_is_paid_off_is_not_kept(replicas: RatedReplicas, redis_server: RedisServer) -> None:
    counter = await replicas.counter()
    await taken(counter, 3)
    [key] = await redis_server.command("KEYS", f"sm:{{{redis_server.deployment}}}:rate:*")
    left = await redis_server.command("PTTL", key)
    assert 0 < left <= 3 * SLOW.interval * 1000


async def test_requests_are_counted_here_while_redis_is_away(
    own_redis_server: RedisServer, stack: AsyncExitStack
) -> None:
    counter = await RatedReplicas(own_redis_server, stack).counter()
    own_redis_server.stop()
    assert granted(await taken(counter, 30)) == SLOW.burst
    own_redis_server.start()
    assert granted(await taken(counter, 30)) == SLOW.burst
