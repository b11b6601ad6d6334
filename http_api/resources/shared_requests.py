"""Which replica serves a token request that was repeated at another one, as Redis has it.

Of each session of such a request it has, for a while, whether its clients abandoned it, whether another client took it
up since, and whether it is being ended. What is first counts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.script import load_script

STEP = load_script("repeated")
KEPT_FOR = 900_000
"""Milliseconds: longer than any request waits."""


@dataclass(frozen=True, slots=True)
class SharedRequests:
    connection: RedisConnection
    owner_of: Callable[[str], str]
    """The replica that owns a session."""
    is_alive: Callable[[str], bool]
    """Whether a replica of this id may still serve a client."""

    async def take(self, session_id: str, *, only_abandoned: bool = False) -> bool:
        """Take the session up for a client here. False: it is being ended, or, with `only_abandoned`, another client
        has it. Raises RedisAway."""
        return await self._step(session_id, "take_abandoned" if only_abandoned else "take")

    async def abandon(self, session_id: str) -> None:
        """The clients here have gone away."""
        with suppress(RedisAway):  # other replicas don't find it
            await self._step(session_id, "abandon")

    async def may_end(self, session_id: str) -> bool:
        """Whether the session may be ended because its clients here have gone away. It can't be taken up from then
        on."""
        try:
            return await self._step(session_id, "end")
        except RedisAway:
            return False  # a client elsewhere may have it; its deadlines end it

    async def _step(self, session_id: str, step: str) -> bool:
        key = self.connection.keys.of("repeated", session_id)
        return bool(await self.connection.run(STEP, [key], [step, KEPT_FOR]))
