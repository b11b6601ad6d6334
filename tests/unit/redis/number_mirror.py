"""A mirror of numbers, to see what a log of changes tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from manager_agent.redis.changelog import ChangeLog, Entry
from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.script import Script
from manager_agent.redis.url import read_redis_url

ADD = Script(
    "add",
    """
    redis.call('ZADD', KEYS[2], ARGV[1], ARGV[1])
    return redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], '*', 'k', 'number', 'n', ARGV[1])
    """,
)


class HasUrl(Protocol):
    @property
    def url(self) -> str: ...


class NumberMirror:
    """Mirrors a sorted set of numbers, each of which a change told of."""

    def __init__(self, server: HasUrl) -> None:
        self.connection = RedisConnection(read_redis_url(server.url), getattr(server, "deployment", "test"))
        self.changelog = ChangeLog(self.connection)
        self._numbers: dict[int, None] = {}
        self.times_read = 0
        self.was_read = asyncio.Event()
        self.has_new = asyncio.Event()
        self._key = self.connection.keys.of("numbers")
        self.changelog.subscribe("number", self.apply, self.read_anew)

    @property
    def numbers(self) -> list[int]:
        return list(self._numbers)

    async def add(self, number: int, *, keeps: int = 20_000) -> None:
        """`keeps`: how many changes stay in the log."""
        await self.connection.run(ADD, [self.connection.keys.changes, self._key], [number, keeps])

    def apply(self, entry: Entry) -> None:
        self._numbers[int(entry.fields[b"n"])] = None
        self.has_new.set()

    async def read_anew(self) -> None:
        self._numbers = {int(one): None for one in await self.connection.call("ZRANGE", self._key, 0, -1)}
        self.times_read += 1
        self.was_read.set()
        self.has_new.set()

    async def has(self, number: int) -> None:
        """Without asking: by the reader that waits for changes."""
        while number not in self._numbers:
            self.has_new.clear()
            await self.has_new.wait()

    async def has_all(self) -> bool:
        """Whether it is as Redis is. Redis changes no more."""
        try:
            await self.changelog.caught_up()
            there = await self.connection.call("ZRANGE", self._key, 0, -1)
        except RedisAway:
            return False
        return sorted(self._numbers) == [int(one) for one in there]

    async def is_read_anew(self) -> None:
        self.was_read.clear()
        await self.was_read.wait()

    async def aclose(self) -> None:
        await self.changelog.aclose()
        await self.connection.aclose()


Mirror = Callable[[HasUrl], Awaitable[NumberMirror]]


@asynccontextmanager
async def mirroring() -> AsyncIterator[Mirror]:
    """Mirrors that are closed after the test."""
    async with AsyncExitStack() as stack:

        async def mirror(server: HasUrl) -> NumberMirror:
            made = NumberMirror(server)
            stack.push_async_callback(made.aclose)
            await made.connection.start()
            await made.changelog.start()
            return made

        yield mirror
