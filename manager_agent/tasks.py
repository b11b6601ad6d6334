"""Background tasks: kept from the garbage collector, named, errors logged, cancelled together."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

log = structlog.get_logger()

T = TypeVar("T")


class Tasks:
    def __init__(self, within: Tasks | None = None) -> None:
        """`within`: a larger group to which these tasks belong too; None: they belong to no other."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._within = within

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str, for_all: bool = False) -> asyncio.Task[T]:
        """Start a background task. `for_all`: run it in an empty context, so that its log lines don't carry the request
        that happened to start it."""
        context = contextvars.Context() if for_all else contextvars.copy_context()
        task = asyncio.create_task(coroutine, name=name, context=context)
        task.add_done_callback(_log_error, context=context)  # an error is logged with the task's context variables
        self._keep(task)
        return task

    def cancel(self) -> None:
        """Cancel all tasks. `aclose` waits for them."""
        for task in self._tasks:
            task.cancel()

    async def wait(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the tasks."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    async def aclose(self, grace: float = 0.0) -> None:
        """Wait up to `grace` seconds for the tasks, then cancel the rest and wait for them."""
        await self.wait(grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._within is not None:
            self._within._keep(task)


def _log_error(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task_failed", task=task.get_name(), exc_info=error)
