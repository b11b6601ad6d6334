"""Connections to Redis that are closed after the test, and what they log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from manager_agent.redis.connection import RedisConnection
from manager_agent.redis.url import read_redis_url

Connect = Callable[[str], RedisConnection]


@asynccontextmanager
async def connecting(deployment: str) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        def connect(url: str) -> RedisConnection:
            connection = RedisConnection(read_redis_url(url), deployment)
            stack.push_async_callback(connection.aclose)
            return connection

        yield connect
