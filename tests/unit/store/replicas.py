"""Stores of several replicas on one real Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import count
from typing import Any, Self

from manager_agent.clock import Clock
from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.connection import RedisConnection
from manager_agent.redis.url import read_redis_url
from manager_agent.store.redis import RedisStore
from tests.redis_server import RedisServer

_NUMBERS: Iterator[int] = count(1)


class StoreReplica:
    """One replica, as far as its store goes: a context manager."""

    def __init__(self, server: RedisServer, clock: Clock, name: str = "", **options: Any) -> None:
        """`options`: of RedisStore."""
        self.replica_id = f"{name or 'replica'}-{next(_NUMBERS)}"
        self.connection = RedisConnection(read_redis_url(server.url), server.deployment)
        self.changelog = ChangeLog(self.connection)
        self.store = RedisStore(self.connection, self.changelog, clock, self.replica_id, **options)

    async def __aenter__(self) -> Self:
        await self.connection.start()
        await self.changelog.start()
        await self.changelog.caught_up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.changelog.aclose()
        await self.connection.aclose()


class StoreReplicas:
    """Several of them: a context manager."""

    def __init__(self, server: RedisServer, clock: Clock) -> None:
        self.server, self._clock = server, clock
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self, how_many: int, **options: Any) -> Sequence[StoreReplica]:
        return [await self.start_one(**options) for _ in range(how_many)]

    async def start_one(self, **options: Any) -> StoreReplica:
        return await self._stack.enter_async_context(StoreReplica(self.server, self._clock, **options))
