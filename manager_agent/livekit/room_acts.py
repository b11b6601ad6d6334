"""What this process does to rooms: refused if another replica acts for the session, and logged with the session's
fencing number, so that it can be checked afterwards that never two acted at the same time.

Before a session is handed over, what is under way in its room is finished, and what is about to begin waits: LiveKit
knows no fences, so it would carry out what comes after the next owner has begun.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from manager_agent.not_acting import NotActing

log = structlog.get_logger()

FenceOf = Callable[[str], int | None]
"""Returns the fencing number with which this process acts for the session with this id; None if it needs none: the
session is unknown or cleaned up, or there are no replicas. Raises NotActing."""


@dataclass(slots=True)
class _HeldActs:
    """Of a session that is being handed over."""

    is_idle: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class RoomActs:
    def __init__(self, fence_of: FenceOf = lambda _: None, known_fence: FenceOf = lambda _: None) -> None:
        """`known_fence`: the session's latest fencing number, whichever replica it is of; raises nothing."""
        self._fence_of, self._known_fence = fence_of, known_fence
        self._under_way: Counter[str] = Counter()
        """How many acts are under way for a session."""
        self._holds: dict[str, _HeldActs] = {}

    @asynccontextmanager
    async def under_way(self, session_id: str) -> AsyncIterator[None]:
        """Inside, something is done for the session. It waits for a hand-over to be decided."""
        while (hold := self._holds.get(session_id)) is not None:
            await hold.is_over.wait()
        self._under_way[session_id] += 1
        try:
            yield
        finally:
            self._under_way[session_id] -= 1
            if not self._under_way[session_id]:
                del self._under_way[session_id]
                if (hold := self._holds.get(session_id)) is not None:
                    hold.is_idle.set()

    def begin(self, act: str, session_id: str, room_name: str) -> None:
        """Call it right before the act, inside `under_way`. Raises NotActing."""
        if session_id in self._holds and not self._under_way[session_id]:
            raise NotActing("the session is being handed over")
        log.debug("room_act", act=act, session_id=session_id, room=room_name, fence=self._fence_of(session_id))

    def note(self, act: str, session_id: str, room_name: str) -> None:
        """The same for what any replica may do, such as to give a user a token."""
        log.debug("room_act", act=act, session_id=session_id, room=room_name, fence=self._known_fence(session_id))

    @asynccontextmanager
    async def held(self, session_id: str, timeout: float) -> AsyncIterator[None]:
        """Inside, nothing is done for the session. Raises TimeoutError if what is under way takes longer, or the
        session is held already."""
        if session_id in self._holds:
            raise TimeoutError
        hold = self._holds[session_id] = _HeldActs()
        try:
            if self._under_way[session_id]:
                async with asyncio.timeout(timeout):
                    await hold.is_idle.wait()
            yield
        finally:
            del self._holds[session_id]
            hold.is_over.set()
