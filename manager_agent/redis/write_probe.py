"""Asks Redis once a second whether it takes writes, so that it is known without one that fails, and that it does
again."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.script import load_script
from manager_agent.tasks import Tasks

log = structlog.get_logger()

TAKES_WRITES = load_script("takes_writes")
INTERVAL = 1.0
"""Seconds."""


class WriteProbe:
    def __init__(self, connection: RedisConnection, *, interval: float = INTERVAL) -> None:
        self._connection, self._interval = connection, interval
        self._tasks = Tasks()

    async def start(self) -> None:
        self._tasks.spawn(self._run(), name="write probe", for_all=True)

    async def aclose(self) -> None:
        await self._tasks.aclose()

    async def require_writes(self) -> None:
        """Return if Redis takes writes now. Raises RedisAway."""
        await self._connection.run(TAKES_WRITES, [self._connection.keys.changes], [])
        self._connection.refusals.taken()

    async def _run(self) -> None:
        while True:
            try:
                with suppress(RedisAway):  # the connection knows it now
                    await self.require_writes()
            except Exception:
                log.exception("write_probe_fault")
            await asyncio.sleep(self._interval)
