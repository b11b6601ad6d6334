"""Users on a real livekit-server: what their clients do and see, and sessions brought to where they come in."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from livekit import rtc

from manager_agent.livekit.room_connection import connect
from manager_agent.session.session import Session
from tests.live.bots import QUIETLY, Bot
from tests.live.conftest import Stack


class Human:
    """A user's client: what it sees of the room and of the room's metadata."""

    def __init__(self) -> None:
        self.room = rtc.Room()
        self.statuses: list[dict[str, Any]] = []
        self.out = asyncio.Event()
        self._news = asyncio.Event()
        self.room.on("room_metadata_changed", lambda _old, new: self._read(new))
        self.room.on("disconnected", lambda _reason: self.out.set())

    async def join(self, session: dict[str, Any]) -> None:
        await connect(self.room, session["server_url"], session["access_token"], QUIETLY, 20)
        self._read(self.room.metadata)

    async def sees(self, state: str) -> None:
        """Returns when the room has shown that state. The test's own timeout bounds it."""
        while state not in [status["state"] for status in self.statuses]:
            self._news.clear()
            await self._news.wait()

    def _read(self, metadata: str) -> None:
        self.statuses.append(json.loads(metadata))
        self._news.set()

    async def leave(self) -> None:
        await self.room.disconnect()


async def ready_session(stack: Stack, *bots: Bot, **more: Any) -> dict[str, Any]:
    """A session whose bots have all joined, as POST answers it."""
    asking = asyncio.create_task(stack.request(*(bot.service_id for bot in bots), prefer="wait=20", **more))
    await asyncio.gather(*(bot.invited() for bot in bots))
    await asyncio.gather(*(bot.join() for bot in bots))
    return await asking


async def over(stack: Stack, session_id: str) -> Session:
    """The session when it is over and cleaned up."""
    return await stack.until(session_id, lambda s: s.end is not None and s.end.cleaned_at is not None)
