"""Saves the registrations to disk, and restores those saved by an earlier process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from manager_agent.registry.instances import Instance
from manager_agent.registry.registry import Registry
from manager_agent.registry.snapshot import read, snapshot, write
from manager_agent.tasks import Tasks

log = structlog.get_logger()

SAVE_INTERVAL = 0.5
"""Minimum seconds between two writes: a burst of changes is written at once."""
SAVE_RETRY = 10.0
"""Seconds before retrying a failed write."""


class SnapshotWriter:
    """Restores the registrations from this directory, then saves every change to it."""

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
        self._saved = b""
        self._write: asyncio.Task[bytes | None] | None = None
        self._is_working = True
        self._is_restored = False
        """The file has been read. Before that it must not be replaced."""

    async def start(self) -> None:
        await self._restore()
        self._tasks.spawn(self._run(), name="registry snapshots")

    async def aclose(self) -> None:
        await self._tasks.aclose()
        if self._write is not None:
            await asyncio.wait([self._write])
        if self._is_restored:
            await self._save()

    async def _restore(self) -> None:
        try:
            saved = await asyncio.to_thread(read, self._directory)
        except OSError as error:
            if self._is_working:
                hint = "nothing is saved until the file can be read (STATE_DIR)"
                log.warning("registrations_not_read", directory=str(self._directory), why=error.strerror, hint=hint)
            self._is_working = False
            return
        restored = self._registry.restore(saved)
        self._is_restored = True
        log.info("registrations_restored", services=restored, directory=str(self._directory))
        await self._save()

    async def _run(self) -> None:
        while not self._is_restored:
            await asyncio.sleep(self._retry)
            await self._restore()
        while True:
            await self._registry.changed.wait()
            await self._save()
            await asyncio.sleep(self._interval if self._is_working else self._retry)

    async def _save(self) -> None:
        """Write the registrations if they changed. A failure is logged once and retried."""
        self._registry.changed.clear()
        instances = tuple(self._registry.instances)
        self._write = asyncio.create_task(asyncio.to_thread(self._write_changes, instances))
        try:
            content = await asyncio.shield(self._write)  # a thread can't be cancelled: aclose waits for it
        except OSError as error:
            self._registry.changed.set()
            if self._is_working:
                where, hint = str(self._directory), "registrations will not survive a restart (STATE_DIR)"
                log.warning("registrations_not_kept", directory=where, why=error.strerror, hint=hint)
            self._is_working = False
        else:
            if content is None:
                return
            if not self._is_working:
                log.info("registrations_kept_again")
            self._saved, self._is_working = content, True

    def _write_changes(self, instances: Sequence[Instance]) -> bytes | None:
        """In a thread: write the registrations, and return the content of the file; None if it is the same as
        before."""
        content = snapshot(instances)
        if content == self._saved:
            return None
        self._to_disk(self._directory, content)
        return content
