"""Waits for tests: for what other tasks do. A wait that fails says what was seen last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from manager_agent.redis.connection import RedisAway
from tests.waiting import described, eventually

T = TypeVar("T")


async def until(look: Callable[[], T], holds: Callable[[T], object] = bool, *, within: float = 60.0) -> T:
    """Look again and again until `holds` is true of what is seen, and return that; fail after `within` seconds of the
    running loop."""

    async def seen() -> T:
        return look()

    return await eventually(described(look if holds is bool else holds), seen, holds, within=within)


async def once_redis_answers(call: Callable[[], Awaitable[T]]) -> T:
    """What `call` returns; it is called again where a busy machine did not answer in time."""
    while True:
        with suppress(RedisAway):
            return await call()


async def let_others_run() -> None:
    """Give every other task its turn, a few times: enough for all that need no timer and no network."""
    for _ in range(5):
        await asyncio.sleep(0)


async def never() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()
