"""The deep health check, where it fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from manager_agent.control.probe import Probe
from manager_agent.redis.connection import RedisAway
from manager_agent.session.session import Session
from manager_agent.store.memory import MemoryStore

pytestmark = pytest.mark.unit


class OrchestratorWithoutRedis:
    def __init__(self) -> None:
        self.closed: list[str] = []

    async def open(self, session: Session) -> Session:
        raise RedisAway("no answer in time")

    async def close(self, session_id: str) -> None:
        self.closed.append(session_id)


class AnsweringRooms:
    async def check(self) -> None: ...


async def test_a_session_that_redis_did_not_take_is_not_ended() -> None:
    orchestrator: Any = OrchestratorWithoutRedis()
    rooms: Any = AnsweringRooms()
    probe = Probe(orchestrator=orchestrator, store=MemoryStore(lambda: 0.0), rooms=rooms, clock=lambda: 0.0)
    with pytest.raises(RedisAway):
        await probe.run()
    for _ in range(10):
        await asyncio.sleep(0)  # it leaves in the background
    assert orchestrator.closed == []
