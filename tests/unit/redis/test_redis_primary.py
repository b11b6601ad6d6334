"""Sentinels that don't answer: in which order they are asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as NotReached

from manager_agent.redis import primary
from manager_agent.redis.primary import SentinelPrimary
from manager_agent.redis.url import read_redis_url

pytestmark = pytest.mark.unit

URL = read_redis_url("redis+sentinel://one:1,two:2,three:3/main")


async def test_a_sentinel_that_did_not_answer_is_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    silent = {"one", "two"}

    class SentinelStandIn:
        def __init__(self, nodes: list[tuple[str, int]], **_: Any) -> None:
            self._host = nodes[0][0]

        async def discover_master(self, _: str) -> tuple[str, int]:
            asked.append(self._host)
            if self._host == "two" and "two" in silent:
                await asyncio.Event().wait()
            if self._host in silent:
                raise NotReached
            return "primary", 6379

    monkeypatch.setattr(primary, "Sentinel", SentinelStandIn)
    found = SentinelPrimary(URL)
    search = asyncio.create_task(found.find())
    while asked != ["one", "two"]:
        await asyncio.sleep(0)
    search.cancel()  # no time is left
    with pytest.raises(asyncio.CancelledError):
        await search
    silent.discard("two")
    assert await found.find() == ("primary", 6379)
    assert await found.find() == ("primary", 6379)
    assert asked == ["one", "two", "two", "two"]
