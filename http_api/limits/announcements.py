"""What a replica announces to the others in Redis for as long as something is under way, and ends in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from manager_agent.redis.connection import RedisAway
from manager_agent.tasks import Tasks

LAST_SECONDS = 1.0
"""Seconds to end announcements when the process stops."""
RETRY_PAUSE = 1.0
"""Seconds between two tries to end one."""


class Announcements:
    def __init__(self, committed: Callable[[], Awaitable[None]]) -> None:
        """`committed`: Records.committed."""
        self._committed, self._tasks = committed, Tasks()

    async def aclose(self) -> None:
        await self._tasks.aclose(LAST_SECONDS)

    def end(self, command: Callable[[], Awaitable[object]], *, name: str, kept_for: int) -> None:
        """End one once what this replica has recorded is committed, so that others find that. `command` does it in
        Redis. `kept_for`: milliseconds after which it has ended by itself."""
        self._tasks.spawn(self._end(command, kept_for), name=name, for_all=True)

    async def _end(self, command: Callable[[], Awaitable[object]], kept_for: int) -> None:
        ends = asyncio.get_running_loop().time() + kept_for / 1000
        while asyncio.get_running_loop().time() < ends:
            try:
                await self._committed()
                await command()
                return
            except RedisAway:
                await asyncio.sleep(RETRY_PAUSE)
