"""Checks the leases of registered services on a timer."""

from __future__ import annotations

import asyncio

import structlog

from manager_agent.registry.registry import Registry
from manager_agent.tasks import Tasks

log = structlog.get_logger()

CHECK_INTERVAL = 1.0
"""Seconds."""


class LeaseSweeper:
    def __init__(self, registry: Registry) -> None:
        self._registry, self._tasks = registry, Tasks()

    async def start(self) -> None:
        self._tasks.spawn(self._run(), name="lease sweeper")

    async def aclose(self) -> None:
        await self._tasks.aclose()

    async def _run(self) -> None:
        while True:
            try:
                self._registry.refresh()
            except Exception:
                log.exception("lease_sweep_fault")
            await asyncio.sleep(CHECK_INTERVAL)
