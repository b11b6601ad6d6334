"""How late the event loop is: everything waits its turn on it, so this is what each request waits at least."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

INTERVAL = 0.25
"""Seconds between two looks."""


class LoopLag:
    """Sleeps, and sees how late it wakes."""

    def __init__(self, observe: Callable[[float], object]) -> None:
        """`observe` is told how many seconds, again and again."""
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
