"""What a replica announces to the others in Redis for as long as something is under way, and ends in the background."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager

from manager_agent.redis.connection import RedisAway
from manager_agent.tasks import Tasks

LAST_SECONDS = 1.0
"""Seconds to end announcements when the process stops."""
RETRY_PAUSE = 1.0
"""Seconds between two tries to end one."""
ENDED_REMEMBERED = 2_000

Command = Callable[[], Awaitable[object]]


class Announcements:
    def __init__(self, committed: Callable[[], Awaitable[None]]) -> None:
        """`committed`: Records.committed."""
        self._committed, self._tasks = committed, Tasks()
        self._ended: deque[tuple[Command, float]] = deque(maxlen=ENDED_REMEMBERED)
        """The commands that end those that were ended here last, and when each ends by itself."""

    async def aclose(self) -> None:
        await self._tasks.aclose(LAST_SECONDS)

    @contextmanager
    def beginning(self, command: Command, *, name: str, kept_for: int) -> Iterator[None]:
        """Inside, one is announced. If that fails it is ended, unless it certainly was not announced: while Redis
        refuses writes, each request would leave a task behind that tries for as long. The arguments are those of
        `end`."""
        try:
            yield
        except (RedisAway, asyncio.CancelledError) as error:
            if not isinstance(error, RedisAway) or error.is_uncertain:
                self.end(command, name=name, kept_for=kept_for)
            raise

    def end(self, command: Command, *, name: str, kept_for: int) -> None:
        """End one once what this replica has recorded is committed, so that others find that. `command` does it in
        Redis, and changes nothing the second time. `kept_for`: milliseconds after which it has ended by itself."""
        ends = asyncio.get_running_loop().time() + kept_for / 1000
        self._ended.append((command, ends))
        self._tasks.spawn(self._end(command, ends), name=name, for_all=True)

    async def end_again(self) -> None:
        """Redis may have gone back to when some were not ended yet. Does it in the background."""
        self._tasks.spawn(self._end_all(list(self._ended)), name="end announcements again", for_all=True)

    async def _end_all(self, ended: Iterable[tuple[Command, float]]) -> None:
        for command, ends in ended:
            await self._end(command, ends)

    async def _end(self, command: Command, ends: float) -> None:
        while asyncio.get_running_loop().time() < ends:
            try:
                await self._committed()
                await command()
                return
            except RedisAway:
                await asyncio.sleep(RETRY_PAUSE)
