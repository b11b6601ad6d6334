"""The stores that the tests here are about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from manager_agent.store.memory import MemoryStore
from manager_agent.store.store import Store
from tests.redis_server import RedisServer
from tests.unit.store.replicas import StoreReplicas
from tests.unit.virtual_time import VirtualClock

MakeStore = Callable[..., Awaitable[Store]]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def replicas(redis_server: RedisServer, clock: VirtualClock) -> AsyncIterator[StoreReplicas]:
    async with StoreReplicas(redis_server, clock) as started:
        yield started


@pytest.fixture
async def own_replicas(own_redis_server: RedisServer, clock: VirtualClock) -> AsyncIterator[StoreReplicas]:
    """On a Redis that may be stopped and emptied."""
    async with StoreReplicas(own_redis_server, clock) as started:
        yield started


@pytest.fixture(params=["memory", "redis"])
async def make_store(request: pytest.FixtureRequest, clock: VirtualClock) -> AsyncIterator[MakeStore]:
    """Makes a store of each kind, with options that all of them take."""
    if request.param == "memory":

        async def in_memory(**options: Any) -> Store:
            return MemoryStore(clock, **options)

        yield in_memory
        return
    async with StoreReplicas(request.getfixturevalue("redis_server"), clock) as started:

        async def in_redis(**options: Any) -> Store:
            return (await started.start_one(**options)).store

        yield in_redis


@pytest.fixture
async def store(make_store: MakeStore) -> Store:
    return await make_store()
