"""Room names and kept answers of three replicas over a Redis that fails: in the end all know the same."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import count

import pytest

from http_api.limits.answer_records import AnswerRecords
from http_api.limits.idempotency_store import IdempotencyScope, IdempotencyStore, StoredAnswer
from manager_agent.store.room_names import RoomNames
from tests.redis_server import RedisServer
from tests.unit.redis_replicas import RedisReplica
from tests.unit.waits import until

pytestmark = pytest.mark.unit

CHANGES = 80
ROOMS = ("room-0", "room-1", "room-2")
NUMBERS = count()


class NamingReplica:
    def __init__(self, server: RedisServer, replica_id: str) -> None:
        self.redis = RedisReplica.of(server, replica_id, time.time)
        self._looked_at: float | None = None
        self.names = RoomNames(self.redis.records, lambda: self._looked_at or time.time())
        self.store = IdempotencyStore(time.time)
        self.answers = AnswerRecords(self.store, self.redis.records, "the secret")

    def change(self, chance: random.Random, now: float) -> None:
        if chance.random() < 0.5:
            nth, until = chance.randrange(6), now + chance.choice([100, 180, 300])
            self.names.issued(ROOMS[nth % 3], f"s{nth}", "acme", until, is_recognized=chance.random() < 0.8)
        else:
            scope = IdempotencyScope("acme", "sessions_create", str(next(NUMBERS)))
            assert self.store.begin(scope, b"1") is None
            self.store.finish(scope, StoredAnswer(201, (), b"{}"))

    def known(self, now: float) -> tuple[object, ...]:
        """As of one instant: rounded, what is the same could differ for good."""
        self._looked_at = now
        try:
            waits = [self.names.reserved_for(room, who) for room in ROOMS for who in ("acme", "rival")]
            return self.names.count, self.store.size, *waits
        finally:
            self._looked_at = None


@pytest.mark.parametrize("seed", range(4))
async def test_replicas_know_the_same_names_and_answers_after_failures_of_redis(
    own_redis_server: RedisServer, seed: int
) -> None:
    chance, server, started = random.Random(seed), own_redis_server, time.time()
    replicas = [NamingReplica(server, name) for name in "abc"]
    async with AsyncExitStack() as stack:
        for replica in replicas:
            await stack.enter_async_context(replica.redis.running())
            await replica.names.start()
            await replica.answers.start()
        for _ in range(CHANGES):
            chance.choice(replicas).change(chance, started)
            if chance.random() < 0.5:
                await asyncio.sleep(chance.uniform(0, 0.01))
            await server.disturb(chance)
        await server.limit_memory(0)
        await until(lambda: [one.redis.records.stats.pending for one in replicas], lambda pending: not any(pending))
        fresh = NamingReplica(server, "d")
        await stack.enter_async_context(fresh.redis.running())
        replicas.append(fresh)
        known = await until(lambda: known_to(replicas), are_the_same)
        assert known[0][1]


def known_to(replicas: Sequence[NamingReplica]) -> list[tuple[object, ...]]:
    now = time.time()
    return [one.known(now) for one in replicas]


def are_the_same(known: list[tuple[object, ...]]) -> bool:
    return known.count(known[0]) == len(known)


async def test_a_longer_reservation_outlives_a_shorter_one_that_crossed_it(redis_server: RedisServer) -> None:
    """Also if the replica that gave out the longer token is gone."""
    a, gone, now = NamingReplica(redis_server, "a"), NamingReplica(redis_server, "b"), time.time()
    async with a.redis.running(writes=False):
        async with gone.redis.running():
            a.names.issued(ROOMS[0], "s0", "acme", now + 100, is_recognized=True)
            gone.names.issued(ROOMS[0], "s0", "acme", now + 300, is_recognized=True)
            await gone.redis.records.committed()
            await a.redis.changelog.caught_up()
        await a.redis.records.start()
        await a.redis.records.committed()
        await a.redis.changelog.caught_up()
        await a.redis.records.committed()
        fresh = NamingReplica(redis_server, "c")
        async with fresh.redis.running():
            assert are_the_same(known_to([a, fresh]))
