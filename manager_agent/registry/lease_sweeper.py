"""Checks the leases of registered services on a timer."""

from __future__ import annotations

import asyncio

import structlog

from manager_agent.registry.registry import Registry
from manager_agent.tasks import Tasks

log = structlog.get_logger()

CHECK_INTERVAL = 1.0


class LeaseSweeper:
    """Checks the leases every `interval` seconds."""

    def __init__(self, registry: Registry, interval: float = CHECK_INTERVAL) -> None:
        self._registry, self._interval = registry, interval
        self._tasks = Tasks()

    async def start(self) -> None:
        self._tasks.spawn(self._run(), name="lease sweeper")

    async def aclose(self) -> None:
        await self._tasks.aclose()

    async def _run(self) -> None:
        while True:
            try:
                self._registry.refresh()
            except Exception:
                log.exception("reaper_fault")
            await asyncio.sleep(self._interval)
