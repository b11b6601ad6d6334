"""Notices when this process has stood still: it was frozen and thawed, or had no CPU for a while. What happened
meanwhile is still on its way to it, and its timers are all over at once. Also when it is short of CPU: then a missing
answer says nothing about the other side."""

from __future__ import annotations

import asyncio
import math

import structlog

from manager_agent.clock import Clock
from manager_agent.tasks import Tasks

log = structlog.get_logger()

INTERVAL = 0.5
STOOD_STILL = 2.0
"""Seconds by which the process is late if it stood still. All timeouts are longer."""
SHORT_OF_CPU = 0.1
"""Seconds by which it is late if it is short of CPU."""


class Standstill:
    def __init__(self, clock: Clock) -> None:
        self._clock, self._tasks = clock, Tasks()
        self._ran_at = math.inf
        self._ended_at = self._late_at = -math.inf

    async def start(self) -> None:
        self._ran_at = self._clock()
        self._tasks.spawn(self._run(), name="standstill")

    async def aclose(self) -> None:
        await self._tasks.aclose()

    @property
    def ended_at(self) -> float:
        """When the process went on after it last stood still, by the clock; -inf: it never did."""
        self._look()  # the caller may be the first to run again
        return self._ended_at

    def was_late_since(self, began: float) -> bool:
        """Whether the process stood still, or was short of CPU, at some time since then."""
        self._look()
        return self._late_at >= began

    async def _run(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(INTERVAL)

    def _look(self) -> None:
        now = self._clock()
        late = now - self._ran_at - INTERVAL
        if late > SHORT_OF_CPU:
            self._late_at = now
        if late > STOOD_STILL:
            self._ended_at = now
            log.warning("process_stood_still", seconds=round(late, 1))
        if now > self._ran_at:
            self._ran_at = now
