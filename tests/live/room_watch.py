"""Watches from outside, through the server API, how many managers are in a room."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

from livekit import api

INTERVAL = 0.05
"""Seconds."""


class ManagersInRoom:
    """Asks LiveKit again and again who is in the room while the block runs."""

    def __init__(self, livekit: api.LiveKitAPI, room_name: str) -> None:
        self._livekit, self._room_name = livekit, room_name
        self._watching: asyncio.Task[None] | None = None
        self._more_since: float | None = None
        self._none_since: float | None = None
        self.now: list[str] = []
        """The identities of the managers."""
        self.longest = 0.0
        """The most seconds for which there was more than one."""
        self.longest_without = 0.0
        """The most seconds for which there was none."""

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        assert self._watching is not None
        self._watching.cancel()
        await asyncio.wait([self._watching])
        if kind is None and not self._watching.cancelled():
            self._watching.result()

    async def _watch(self) -> None:
        request = api.ListParticipantsRequest(room=self._room_name)
        while True:
            listed = (await self._livekit.room.list_participants(request)).participants
            self.now = [one.identity for one in listed if one.permission.hidden]
            now = time.monotonic()
            self._more_since = (self._more_since or now) if len(self.now) > 1 else None
            self._none_since = (self._none_since or now) if not self.now else None
            self.longest = max(self.longest, now - (self._more_since or now))
            self.longest_without = max(self.longest_without, now - (self._none_since or now))
            await asyncio.sleep(INTERVAL)
