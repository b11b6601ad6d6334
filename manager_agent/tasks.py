"""Tasks that nobody awaits: kept from the garbage collector, named, their faults logged, ended together."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

log = structlog.get_logger()

T = TypeVar("T")


class Tasks:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str, for_all: bool = False) -> asyncio.Task[T]:
        """`for_all`: what the task does, and logs, is not on account of whoever happened to be first to need it."""
        context = contextvars.Context() if for_all else contextvars.copy_context()
        task = asyncio.create_task(coroutine, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._done, context=context)  # its fault is logged with what the task has bound
        return task

    async def aclose(self, late_join_policy: float = 0.0) -> None:
        """Cancels what still runs after `late_join_policy` seconds, and waits for it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=late_join_policy)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task_failed", task=task.get_name(), exc_info=error)
