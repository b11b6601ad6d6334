"""Keeps the registrations on disk, and reads those that an earlier process has kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from manager_agent.registry.registry import Registry
from manager_agent.registry.snapshot import read, snapshot, write
from manager_agent.tasks import Tasks

log = structlog.get_logger()

SAVE_INTERVAL = 0.5
"""Seconds between two writes at least: the changes of a burst are written together."""
SAVE_RETRY = 10.0
"""Seconds after a write that failed."""


class SnapshotWriter:
    """Takes in what an earlier process has kept in this directory, and keeps every change from then on."""

    def __init__(
        self,
        registry: Registry,
        directory: Path,
        *,
        write: Callable[[Path, bytes], None] = write,
        interval: float = SAVE_INTERVAL,
        retry: float = SAVE_RETRY,
    ) -> None:
        self._registry, self._directory = registry, directory
        self._to_disk, self._interval, self._retry = write, interval, retry
        self._tasks = Tasks()
        self._kept = b""
        self._write: asyncio.Task[None] | None = None
        self._well = True
        self._taken_in = False
        """What is on the disk was read; before, it must not be replaced."""

    async def start(self) -> None:
        await self._take_in()
        self._tasks.spawn(self._run(), name="registry keeper")

    async def aclose(self) -> None:
        await self._tasks.aclose()
        if self._write is not None:
            await asyncio.wait([self._write])
        if self._taken_in:
            await self._keep()

    async def _take_in(self) -> None:
        try:
            kept = await asyncio.to_thread(read, self._directory)
        except OSError as error:
            if self._well:
                hint = "nothing is written until it can be read (STATE_DIR)"
                log.warning("registrations_not_read", directory=str(self._directory), why=error.strerror, hint=hint)
            self._well = False
            return
        restored = self._registry.restore(kept)
        self._taken_in = True
        log.info("registrations_restored", services=restored, directory=str(self._directory))
        await self._keep()

    async def _run(self) -> None:
        while not self._taken_in:
            await asyncio.sleep(self._retry)
            await self._take_in()
        while True:
            await self._registry.changed.wait()
            await self._keep()
            await asyncio.sleep(self._interval if self._well else self._retry)

    async def _keep(self) -> None:
        """Writes what is new. When that fails it is said, once, and tried again."""
        self._registry.changed.clear()
        content = snapshot(self._registry.instances)
        if content == self._kept:
            return
        self._write = asyncio.create_task(asyncio.to_thread(self._to_disk, self._directory, content))
        try:
            await asyncio.shield(self._write)  # a thread can't be cancelled: aclose waits for it
        except OSError as error:
            self._registry.changed.set()
            if self._well:
                where, hint = str(self._directory), "registrations will not survive a restart (STATE_DIR)"
                log.warning("registrations_not_kept", directory=where, why=error.strerror, hint=hint)
            self._well = False
        else:
            if not self._well:
                log.info("registrations_kept_again")
            self._kept, self._well = content, True
