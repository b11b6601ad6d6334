"""Registrations that are under way at several replicas, in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from http_api.limits import announcements, registrations_begun
from http_api.limits.registrations_begun import Begun, RegistrationsBegun
from manager_agent.redis.connection import RedisConnection
from manager_agent.redis.url import read_redis_url
from tests.redis_server import RedisServer
from tests.unit.registries import asr
from tests.waiting import eventually

pytestmark = pytest.mark.api


class RegisteringReplicas:
    def __init__(self, server: RedisServer, stack: AsyncExitStack) -> None:
        self._server, self._stack = server, stack
        self.are_recorded = asyncio.Event()
        """Whether what was registered is in Redis."""
        self.are_recorded.set()
        self.looks = 0
        """How often a replica has caught up with the others."""

    async def _caught_up(self) -> None:
        self.looks += 1

    async def _committed(self) -> None:
        await self.are_recorded.wait()

    def replica(self, replica_id: str) -> RegistrationsBegun:
        connection = RedisConnection(read_redis_url(self._server.url), self._server.deployment)
        self._stack.push_async_callback(connection.aclose)
        begun = RegistrationsBegun(connection, replica_id, caught_up=self._caught_up, committed=self._committed)
        self._stack.push_async_callback(begun.aclose)
        return begun

    async def under_way(self) -> int:
        names = await self._server.command("KEYS", f"sm:{{{self._server.deployment}}}:registering")
        return int(await self._server.command("ZCARD", names[0])) if names else 0


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def replicas(redis_server: RedisServer, stack: AsyncExitStack) -> RegisteringReplicas:
    return RegisteringReplicas(redis_server, stack)


def ids(begun: Sequence[Begun]) -> list[str]:
    return [one.service_id for one in begun]


async def test_each_knows_those_that_began_before_it_and_are_under_way(replicas: RegisteringReplicas) -> None:
    a, b = replicas.replica("a"), replicas.replica("b")
    async with (
        a.begin(asr("asr-1")) as before_first,
        b.begin(asr("asr-2")) as before_second,
        a.begin(asr("asr-3")) as before_third,
    ):
        pass
    service = asr("asr-1")
    assert list(before_first) == []
    assert list(before_second) == [Begun("asr-1", service.owner, service.agent_name)]
    assert sorted(ids(before_third)) == ["asr-1", "asr-2"]
    assert replicas.looks == 3
    await eventually("the end of all", replicas.under_way, lambda number: number == 0)


async def test_of_two_at_once_one_knows_of_the_other(replicas: RegisteringReplicas) -> None:
    each, have_begun = [replicas.replica(name) for name in "abc"], asyncio.Barrier(3)

    async def register(nth: int) -> list[str]:
        async with each[nth].begin(asr(f"asr-{nth}")) as others:
            await have_begun.wait()
            return ids(others)

    known = await asyncio.gather(*(register(nth) for nth in range(3)))
    assert sorted(map(len, known)) == [0, 1, 2]


async def test_one_that_fails_ends_too(replicas: RegisteringReplicas) -> None:
    with pytest.raises(ValueError, match="refused"):
        async with replicas.replica("a").begin(asr("asr-1")):
            raise ValueError("refused")
    await eventually("its end", replicas.under_way, lambda number: number == 0)


async def test_one_is_under_way_until_it_is_recorded(replicas: RegisteringReplicas) -> None:
    a, b = replicas.replica("a"), replicas.replica("b")
    replicas.are_recorded.clear()
    async with a.begin(asr("asr-1")):
        pass
    async with b.begin(asr("asr-2")) as others:
        assert ids(others) == ["asr-1"]
    replicas.are_recorded.set()
    await eventually("the end of both", replicas.under_way, lambda number: number == 0)


async def test_one_whose_replica_is_gone_counts_as_ended_after_a_while(
    replicas: RegisteringReplicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, here = replicas.replica("gone"), replicas.replica("here")
    replicas.are_recorded.clear()  # so that its end is never told
    async with gone.begin(asr("asr-1")):
        pass
    assert await replicas.under_way() == 1
    monkeypatch.setattr(registrations_begun, "KEPT_FOR", 0)
    monkeypatch.setattr(announcements, "LAST_SECONDS", 0.0)

    async def others() -> list[str]:
        async with here.begin(asr("asr-2")) as begun:
            return ids(begun)

    await eventually("the end of the first", others, lambda found: "asr-1" not in found)


async def test_ended_ones_that_redis_has_again_end_again(stack: AsyncExitStack, own_redis_server: RedisServer) -> None:
    replicas = RegisteringReplicas(own_redis_server, stack)
    a = replicas.replica("a")
    async with a.begin(asr("asr-1")):
        earlier = await own_redis_server.saved()
    await eventually("its end", replicas.under_way, lambda number: number == 0)
    await own_redis_server.go_back_to(earlier)
    assert await replicas.under_way() == 1
    await a.read_anew()
    await eventually("its end", replicas.under_way, lambda number: number == 0)
