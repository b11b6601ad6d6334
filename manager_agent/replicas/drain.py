"""Drains this replica: it takes no sessions any more, and hands over those that it has, in order."""

from __future__ import annotations

import asyncio

import structlog

from manager_agent.replicas.membership import Membership, uptime
from manager_agent.replicas.spreading import DRAIN_INTERVAL, Spreading
from manager_agent.store.redis import RedisStore

log = structlog.get_logger()

LAST_SECONDS = 2.0
"""Seconds before the end in which every session is handed over, whatever is under way for it."""


class Drain:
    def __init__(self, store: RedisStore, membership: Membership, spreading: Spreading) -> None:
        self._store, self._membership, self._spreading = store, membership, spreading

    @property
    def is_under_way(self) -> bool:
        return self._membership.is_draining

    async def start(self) -> None:
        """Begin, for good: this replica is going to stop. It goes on to answer requests. Does nothing the second
        time."""
        if not self._membership.is_draining:
            log.info("draining", sessions=sum(not session.over for session in self._store.owned()))
            await self._membership.drain()

    async def finish(self, timeout: float) -> int:
        """Drain within `timeout` seconds, as long as there is another replica that does not drain. Returns how many
        live sessions are left to the next replica."""
        until = uptime() + timeout
        await self.start()
        while ((self._left and self._spreading.receivers) or self._spreading.awaited) and uptime() < until:
            if uptime() >= until - LAST_SECONDS:
                await self._spreading.give_all()
            await asyncio.sleep(DRAIN_INTERVAL)
        left = self._left
        log.info("drained", sessions_left=left)
        return left

    @property
    def _left(self) -> int:
        return sum(not session.over for session in self._store.owned())
