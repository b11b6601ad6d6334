"""Bounds how many managers join at the same time.

A join takes some 60 ms of CPU. When hundreds are begun at once, such as after a burst of new sessions, each takes so
long that most time out and are begun again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

JOINS_AT_ONCE, JOINS_MAX = 8, 24
"""Joins that others wait for, and all of them. Recovery begins fewer (MANAGERS_AT_ONCE in control/manager_turns.py)."""
HELD_MAX = 3.0
"""Seconds. A join that takes longer mostly waits for LiveKit, and the next one may begin, up to JOINS_MAX."""


class JoinSlots:
    def __init__(self) -> None:
        self._free, self._all = asyncio.Semaphore(JOINS_AT_ONCE), asyncio.Semaphore(JOINS_MAX)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot, and hold it inside. It counts among JOINS_AT_ONCE for at most HELD_MAX seconds."""
        async with self._all:
            await self._free.acquire()
            held = True

            def release() -> None:
                nonlocal held
                if held:
                    held = False
                    self._free.release()

            timer = asyncio.get_running_loop().call_later(HELD_MAX, release)
            try:
                yield
            finally:
                timer.cancel()
                release()
