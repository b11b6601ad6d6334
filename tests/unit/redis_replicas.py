"""What a replica has on a real Redis, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from manager_agent.clock import Clock
from manager_agent.records.pending_changes import PendingChanges
from manager_agent.records.redis import RedisRecords
from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.connection import RedisConnection
from manager_agent.redis.url import read_redis_url
from tests.redis_server import RedisServer

RETRY = 0.02


@dataclass(frozen=True)
class RedisReplica:
    """Not started: first those who listen say so."""

    replica_id: str
    connection: RedisConnection
    changelog: ChangeLog
    records: RedisRecords

    @classmethod
    def of(
        cls, server: RedisServer, replica_id: str, clock: Clock, pending: PendingChanges | None = None
    ) -> RedisReplica:
        connection = RedisConnection(read_redis_url(server.url), server.deployment)
        changelog = ChangeLog(connection)
        records = RedisRecords(connection, changelog, clock, replica_id, pending=pending, retry=RETRY)
        return cls(replica_id, connection, changelog, records)

    @asynccontextmanager
    async def running(self, *, writes: bool = True) -> AsyncIterator[None]:
        """Until the end of the block. Its changelog is read, unless Redis is away. `writes`: otherwise what it changes
        is under way until the records are started, or closed."""
        await self.connection.start()
        await self.changelog.start()
        if writes:
            await self.records.start()
        try:
            if not self.connection.is_away:
                await self.changelog.caught_up()
            yield
        finally:
            await self.records.aclose()
            await self.changelog.aclose()
            await self.connection.aclose()


@asynccontextmanager
async def replica_records(server: RedisServer, clock: Clock) -> AsyncIterator[RedisRecords]:
    replica = RedisReplica.of(server, "a", clock)
    async with replica.running():
        yield replica.records
