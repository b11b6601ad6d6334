"""Looks at the leases of registered services on a timer."""

from __future__ import annotations

import asyncio

import structlog

from manager_agent.registry.registry import Registry
from manager_agent.tasks import Tasks

log = structlog.get_logger()

LOOK_INTERVAL = 1.0


class LeaseSweeper:
    """Looks at the leases every `interval` seconds."""

    def __init__(self, registry: Registry, interval: float = LOOK_INTERVAL) -> None:
        self._registry, self._interval = registry, interval
        self._tasks = Tasks()

    async def start(self) -> None:
        self._tasks.spawn(self._run(), name="registry reaper")

    async def aclose(self) -> None:
        await self._tasks.aclose()

    async def _run(self) -> None:
        while True:
            try:
                self._registry.look()
            except Exception:
                log.exception("reaper_fault")
            await asyncio.sleep(self._interval)
