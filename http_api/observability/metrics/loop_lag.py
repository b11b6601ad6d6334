"""Measure the event loop's lag, the minimum time that every request waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

INTERVAL = 0.25
"""Seconds between two measurements."""


class LoopLag:
    """Measures how late the event loop wakes a sleeping task."""

    def __init__(self, observe: Callable[[float], object]) -> None:
        """`observe` is called with each measured lag in seconds."""
        self._observe = observe
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = asyncio.create_task(self._run(), name="loop lag")

    async def aclose(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + INTERVAL
            await asyncio.sleep(INTERVAL)
            self._observe(max(0.0, loop.time() - due))
