"""Lets sessions that are continued here have their managers one after the other: hundreds at once would all be late."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from manager_agent.clock import Clock
from manager_agent.not_acting import NotActing
from manager_agent.session import events as ev
from manager_agent.store.store import Store, UnknownSession
from manager_agent.tasks import Tasks

MANAGERS_AT_ONCE = 6
"""Sessions that are given their managers at the same time. That keeps two cores busy: a join costs 60 ms of CPU, most
of it in the SDK. More at once take longer each, and the API answers later."""
MANAGER_TIMEOUT = 10.0
"""Seconds that one of them waits for its manager before the next session has its turn."""
TURN_TIMEOUT = 60.0
"""Seconds after which a session gets its manager in any case."""


class ManagerTurns:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._joining, self._tasks = asyncio.Semaphore(MANAGERS_AT_ONCE), Tasks()

    async def aclose(self) -> None:
        await self._tasks.aclose()

    def bring(self, session_id: str) -> None:
        """Let this session have its manager, as soon as it is its turn. Its dispatch is not due before."""
        self._tasks.spawn(self._bring(session_id), name=f"{session_id} turn", for_all=True)

    async def _bring(self, session_id: str) -> None:
        async with self._joining:
            with suppress(TimeoutError, UnknownSession, NotActing):
                await self._store.update(session_id, ev.ManagerDue(self._clock()))
                async with asyncio.timeout(MANAGER_TIMEOUT):
                    await self._store.wait_for(session_id, lambda latest: latest.over or latest.manager.presence.here)
