"""Counts requests in Redis, for all replicas together: the algorithm of gcra.py, in a script.

One call counts all requests that came while the call before was under way, so that many requests cost few calls. A
request waits for it: a share that each replica gives out by itself would let a burst pass through each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from http_api.limits.gcra import Allowance, Rate
from http_api.limits.rates import LocalRate
from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.script import load_script
from manager_agent.tasks import Tasks

COUNT = load_script("rate")
MICROSECONDS = 1e6
PATIENCE = 0.25
"""Seconds that a request waits to be counted. Then it is counted in this process only."""

Waiting = list[asyncio.Future[Allowance]]


class SharedRates:
    def __init__(self, connection: RedisConnection, rate: Rate, clock: Callable[[], float]) -> None:
        self._connection, self._rate, self._clock = connection, rate, clock
        self._waiting: dict[str, Waiting] = {}
        """Those that are not counted yet, by the key of their sender."""
        self._tasks = Tasks()
        self._is_calling = False

    async def start(self) -> None: ...

    async def aclose(self) -> None:
        await self._tasks.aclose()

    def counter(self, kind: str) -> SharedRate:
        return SharedRate(self, kind, LocalRate(self._rate, self._clock))

    async def take(self, kind: str, name: str) -> Allowance:
        """Count a request of this sender if it is allowed. Raises RedisAway, TimeoutError."""
        counted: asyncio.Future[Allowance] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(self._connection.keys.rate(f"{kind}:{name}"), []).append(counted)
        if not self._is_calling:
            self._is_calling = True
            self._tasks.spawn(self._count_waiting(), name="count requests", for_all=True)
        async with asyncio.timeout(PATIENCE):
            return await counted

    async def _count_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, {}
                await self._count(batch)
        finally:
            self._is_calling = False

    async def _count(self, batch: dict[str, Waiting]) -> None:
        rate, numbers = self._rate, [len(waiting) for waiting in batch.values()]
        args = (rate.interval * MICROSECONDS, rate.window * MICROSECONDS, *numbers)
        try:
            answers = await self._connection.run(COUNT, list(batch), args)
        except RedisAway as away:
            for waiting in batch.values():
                for counted in waiting:
                    if not counted.done():
                        counted.set_exception(away)
            return
        for waiting, (debt, granted) in zip(batch.values(), answers, strict=True):
            allowances = self._allowances(debt / MICROSECONDS, granted, len(waiting))
            for allowance, counted in zip(allowances, waiting, strict=True):
                if not counted.done():
                    counted.set_result(allowance)

    def _allowances(self, debt: float, granted: int, count: int) -> list[Allowance]:
        """What each of so many requests of one sender gets, of which so many are granted."""
        paid = [Allowance(self._rate, True, debt + (nth + 1) * self._rate.interval) for nth in range(granted)]
        refused = Allowance(self._rate, False, debt + granted * self._rate.interval)
        return paid + [refused] * (count - granted)


class SharedRate:
    """The requests of one kind. While Redis is away or slow, those to this process are counted."""

    def __init__(self, shared: SharedRates, kind: str, local: LocalRate) -> None:
        self._shared, self._kind, self._local = shared, kind, local

    async def take(self, name: str) -> Allowance:
        with suppress(RedisAway, TimeoutError):
            return await self._shared.take(self._kind, name)
        return await self._local.take(name)
