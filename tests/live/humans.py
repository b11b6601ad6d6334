"""Users on a real livekit-server: what their clients do and see, and sessions in the states that they join."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from livekit import rtc

from manager_agent.livekit.room_connection import connect, disconnect
from manager_agent.session.session import Session
from tests.live.bots import CONNECT_TIMEOUT, QUIETLY, Bot
from tests.live.conftest import Stack
from tests.waiting import waiting_for


class Human:
    """A user's client, and what it sees of the room's metadata."""

    def __init__(self) -> None:
        self.room = rtc.Room()
        self.statuses: list[dict[str, Any]] = []
        self.out = asyncio.Event()
        self._news = asyncio.Event()
        self.room.on("room_metadata_changed", lambda _old, new: self._read(new))
        self.room.on("disconnected", lambda _reason: self.out.set())

    async def join(self, session: dict[str, Any]) -> None:
        await connect(self.room, session["server_url"], session["access_token"], QUIETLY, CONNECT_TIMEOUT)
        self._read(self.room.metadata)

    async def sees(self, state: str) -> None:
        """Return when the room's metadata has shown that state."""
        async with waiting_for(f"the state {state} in the room's metadata", self._states):
            while state not in self._states():
                self._news.clear()
                await self._news.wait()

    async def is_out(self) -> None:
        """Return when this user has been disconnected."""
        async with waiting_for("the user to be disconnected", self._states):
            await self.out.wait()

    def _states(self) -> list[str]:
        return [status["state"] for status in self.statuses]

    def _read(self, metadata: str) -> None:
        self.statuses.append(json.loads(metadata))
        self._news.set()

    async def leave(self) -> None:
        await disconnect(self.room)


async def ready_session(stack: Stack, *bots: Bot, **more: Any) -> dict[str, Any]:
    """The answer of POST /sessions for a session that all of these bots have joined."""

    async def join(bot: Bot) -> None:
        await bot.join(await bot.invited())

    async with asyncio.TaskGroup() as tasks:  # an answer without a session ends the wait for invites
        asking = tasks.create_task(stack.request(*(bot.service_id for bot in bots), prefer="wait=60", **more))
        for bot in bots:
            tasks.create_task(join(bot))
    return asking.result()


async def over(stack: Stack, session_id: str) -> Session:
    """The session once it is over and cleaned up."""
    return await stack.until(session_id, lambda s: s.end is not None and s.end.cleaned_at is not None)
