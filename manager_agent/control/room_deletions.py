"""Deletes the rooms of sessions that are over.

A call that is under way when another process takes over may still delete the room. No other process can know that it
did so for its client, so the answer is awaited nevertheless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from manager_agent.drop_oldest import drop_oldest
from manager_agent.tasks import Tasks

REMEMBERED = 10_000
"""Deletions that are under way, or whose callers were cancelled."""


class RoomDeletions:
    def __init__(self) -> None:
        self._tasks = Tasks()
        self._under_way: dict[str, asyncio.Task[Exception | None]] = {}
        """By session id. One whose caller was cancelled stays for a while."""

    async def run(self, session_id: str, deletion: Coroutine[Any, Any, None]) -> None:
        """Await `deletion`, which goes on if the caller is cancelled. Raises what it raises."""
        task = self._under_way[session_id] = self._tasks.spawn(_settled(deletion), name=f"{session_id} delete room")
        drop_oldest(self._under_way, REMEMBERED)
        error = await asyncio.shield(task)
        self._under_way.pop(session_id, None)
        if error is not None:
            raise error

    async def has_deleted(self, session_id: str) -> bool:
        """Whether the room was deleted by a call whose caller was cancelled, once that is known."""
        task = self._under_way.get(session_id)
        if task is None:
            return False
        await asyncio.wait([task])
        return not task.cancelled() and task.result() is None

    async def aclose(self) -> None:
        await self._tasks.aclose()


async def _settled(deletion: Coroutine[Any, Any, None]) -> Exception | None:
    try:
        await deletion
    except Exception as error:
        return error
    return None
