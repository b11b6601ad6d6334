"""Registrations of three replicas over a Redis that fails: in the end all know the same."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from manager_agent.clock import Clock
from manager_agent.registry.instances import Instance
from manager_agent.registry.persistence import RegistrationKeeper
from manager_agent.registry.registry import Registry
from manager_agent.registry.services import RegisteredService, UnknownService
from manager_agent.session.counts import SessionCounts
from tests.redis_server import RedisServer, require_redis
from tests.unit.redis_replicas import RedisReplica
from tests.unit.registries import asr
from tests.unit.waits import until

pytestmark = pytest.mark.unit

CHANGES = 60


class RegisteringReplica:
    def __init__(self, server: RedisServer, replica_id: str, ahead: float) -> None:
        self.clock: Clock = lambda: time.time() + ahead
        self.redis = RedisReplica.of(server, replica_id, self.clock)
        self.registry = Registry(self.clock, SessionCounts())
        self.keeper = RegistrationKeeper(self.registry, self.redis.records, self.clock)

    def change(self, chance: random.Random) -> None:
        service_id = f"asr-{chance.randrange(4)}"
        try:
            match chance.randrange(4):
                case 0 | 1:
                    self.registry.register(
                        asr(service_id, registered_at=self.clock(), capacity=chance.randrange(1, 99))
                    )
                case 2:
                    self.registry.heartbeat(service_id, draining=chance.random() < 0.5)
                case 3:
                    self.registry.remove(service_id)
        except UnknownService:
            pass

    @property
    def known(self) -> list[tuple[RegisteredService, bool]]:
        instances: list[Instance] = sorted(self.registry.instances, key=lambda one: one.service.service_id)
        return [(one.service, one.draining) for one in instances]


@pytest.mark.parametrize("persists", [False, True])
@pytest.mark.parametrize("seed", range(3))
async def test_replicas_agree_after_failures_of_redis(tmp_path: Path, seed: int, persists: bool) -> None:
    require_redis()
    chance = random.Random(seed)
    with RedisServer(tmp_path, is_limited=True, persists=persists) as server:
        replicas = [RegisteringReplica(server, name, ahead) for name, ahead in (("a", 0.0), ("b", 2.0), ("c", -2.0))]
        async with AsyncExitStack() as stack:
            for replica in replicas:
                await stack.enter_async_context(replica.redis.running())
                await replica.keeper.start()
            for _ in range(CHANGES):
                chance.choice(replicas).change(chance)
                if chance.random() < 0.5:
                    await asyncio.sleep(chance.uniform(0, 0.01))
                await server.disturb(chance)
            await server.limit_memory(0)
            fresh = RegisteringReplica(server, "d", 0.0)
            for replica in replicas:
                await until(lambda: replica.redis.records.stats.pending, lambda pending: not pending)  # noqa: B023
            await stack.enter_async_context(fresh.redis.running())
            await fresh.keeper.start()
            await until(
                lambda: [one.known for one in (*replicas, fresh)], lambda all_: all_.count(all_[0]) == len(all_)
            )
